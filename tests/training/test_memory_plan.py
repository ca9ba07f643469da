"""What is chosen so that a training fits, and that what it predicts is what happens."""

import pytest
import torch

from reidtune.data.batch import Batch
from reidtune.errors import SettingsError
from reidtune.training import footprint as footprint_module
from reidtune.training import memory_plan
from reidtune.training.footprint import Footprint, _largest, measure, set_recomputed
from reidtune.training.memory import Cost, peak_bytes, saved_bytes
from reidtune.training.memory_plan import choose, plan_memory, settle
from reidtune.training.open import open_run

LAYERS, BATCH = 12, 64


def footprint(blocks):
    """Ten bytes a block and sample, of which one is left of a block computed again; a block's worth while it is."""
    kept = Cost(5, 10 * (LAYERS - blocks) + blocks)
    return Footprint(kept, Cost(50, kept.per_sample + 10))


def chosen(budget, **options):
    return choose(footprint, budget=budget, held=1000, batch=BATCH, layers=LAYERS, **options)


def needed(blocks, count):
    return 1000 + footprint(blocks).peak.of(count)


def test_nothing_is_done_without_a_limit_or_within_it():
    for budget in (None, needed(0, BATCH)):
        found = chosen(budget)
        assert (found.recomputed, found.micro_batch, found.peak) == (0, None, needed(0, BATCH))
        assert found.kept == footprint(0).kept.of(BATCH)


@pytest.mark.parametrize("blocks", [1, 5, 11, 12])
def test_as_few_blocks_as_will_do_are_computed_again(blocks):
    found = chosen(needed(blocks, BATCH))
    assert (found.recomputed, found.micro_batch) == (blocks, None)
    assert chosen(needed(blocks, BATCH) + 1).recomputed == blocks
    if blocks > 1:
        assert chosen(needed(blocks - 1, BATCH) - 1).recomputed == blocks


def test_then_the_batch_goes_in_parts_of_equal_size_and_no_block_is_computed_again():
    found = chosen(needed(12, BATCH) - 1)
    assert found.recomputed == 0 and found.micro_batch
    parts = -(-BATCH // found.micro_batch)
    assert needed(0, found.micro_batch) == found.peak <= needed(12, BATCH) - 1
    assert needed(0, -(-BATCH // (parts - 1))) > needed(12, BATCH) - 1  # with one part less it would not fit


def test_then_both_and_at_last_it_says_what_is_needed():
    found = chosen(needed(0, 3))
    assert found.recomputed == 12 and found.micro_batch > 3 and found.peak <= needed(0, 3)
    with pytest.raises(SettingsError, match=r"does not fit [\d.]+ kB: at least [\d.]+ kB are needed\."):
        chosen(needed(12, 1) - 1)


def test_what_is_said_is_not_chosen():
    assert chosen(None, checkpoint=3).recomputed == 3
    assert chosen(None, checkpoint="all", micro_batch=8).micro_batch == 8
    assert chosen(needed(12, BATCH) - 1, checkpoint="all").recomputed == 12
    assert chosen(needed(0, 8), checkpoint="none").recomputed == 0
    with pytest.raises(SettingsError, match="with the whole batch at once") as raised:
        chosen(needed(12, BATCH) - 1, micro_batch="none")
    assert "--micro-batch" in raised.value.hint


@pytest.fixture
def prepared(tmp_path):
    def make(method="adapter", data="demo", **settings):
        flags = {"method": method, "training.batch_size": 8, "training.workers": 0, **settings}
        return open_run(data, None, flags, output=tmp_path / "run").prepare()

    return make


@pytest.mark.parametrize(
    ("method", "data"), [("adapter", "demo"), ("dm-adapter", "demo:text"), ("dmpt", "demo:multimodal")]
)
@pytest.mark.parametrize("blocks", [0, 2])
def test_kept_bytes_are_those_of_a_whole_batch(prepared, method, data, blocks):
    from reidtune.data import label_map
    from reidtune.training.batches import BatchSource

    made = prepared(method, data)
    found = measure(made, blocks)
    model = made.model
    source = BatchSource(
        made.train, label_map(made.train), data == "demo:text", model.backbone, made.config, model.modalities
    )
    batch = next(source.batches([_largest(made, 11)], 0))
    held = [*model.tuner.parameters(), *model.backbone.model.parameters()]
    model.tuner.train()
    set_recomputed(made, blocks)
    try:
        assert saved_bytes(lambda: made.method.encode(model, batch), held) == found.kept.of(11)

        def step():
            outputs = made.method.encode(model, batch)
            roots = [value for value in outputs.values() if value.requires_grad]
            torch.autograd.backward(roots, [torch.ones_like(value) for value in roots])

        predicted = found.peak.of(11)
        assert abs(peak_bytes(step, torch.device("cpu")) - predicted) < 0.05 * predicted
    finally:
        set_recomputed(made, 0)


def test_measuring_leaves_the_tuner_as_it_was(prepared):
    made = prepared("clip-reid")
    next(p for name, p in made.model.tuner.named_parameters() if name.startswith("words.")).requires_grad_(False)
    before = {name: (p.clone(), p.requires_grad) for name, p in made.model.tuner.named_parameters()}
    measure(made, 1)
    for name, parameter in made.model.tuner.named_parameters():
        assert torch.equal(parameter, before[name][0]) and parameter.requires_grad == before[name][1]
        assert parameter.grad is None
    assert made.model.backbone.image.recomputed == 0 and not made.model.tuner.training


def test_settling_says_what_is_done_and_only_with_a_limit(prepared, monkeypatch):
    monkeypatch.setattr(footprint_module, "resident_bytes", lambda: 10**9)
    said = []
    assert settle(prepared(), said.append) is None
    made = prepared(**{"training.checkpoint": "3", "training.micro_batch": 4})
    assert settle(made, said.append) == 4 and not said
    assert made.model.backbone.image.recomputed == 3
    plain = plan_memory(prepared())
    made = prepared(**{"training.memory": f"{plain.peak / 1e6 - 1:.0f}MB"})
    settle(made, said.append)
    assert len(said) == 1 and said[0].startswith("To fit ") and "computed again" in said[0]
    assert made.model.backbone.image.recomputed > 0


@pytest.mark.parametrize(
    ("method", "data", "settings"),
    [
        ("prompt-decoupling", "demo:text", {"tune": "adapter"}),  # the first stage keeps more
        ("clip-reid", "demo", {"tune": "adapter"}),  # whose first stage reads no images
    ],
)
def test_of_several_stages_the_dearest_counts(prepared, method, data, settings):
    made = prepared(method, data, **{f"settings.{name}": value for name, value in settings.items()})
    tuner, size = made.model.tuner, made.model.backbone.preprocess
    alone = []
    for stage in made.method.stages():
        for name, parameter in tuner.named_parameters():
            parameter.requires_grad_(stage.trains(name))
        made.method.begin(stage, made.model, made.train)
        tuner.train()
        labels = torch.arange(8)
        images = None if stage.features else torch.zeros(8, 3, size.height, size.width)
        captions = [made.train[place].captions[:1] for place in _largest(made, 8)]
        texts = made.model.backbone.tokenizer([caption for (caption,) in captions]) if "text" in data else None
        frozen = torch.zeros(8, made.model.backbone.image.output_width) if stage.features else None
        batch = Batch(images, labels=labels, seeds=labels, texts=texts, frozen=frozen)
        held = [*tuner.parameters(), *made.model.backbone.model.parameters()]
        alone.append(saved_bytes(lambda batch=batch: made.method.encode(made.model, batch), held))
    tuner.requires_grad_(True)
    found = measure(made, 0).kept.of(8)
    assert min(alone) < 0.97 * max(alone) and found == max(alone)


@pytest.mark.parametrize(("more", "called"), [(0, [True, True]), (10**9, [True, False])])
def test_on_a_cpu_memory_is_given_back_where_the_limit_is_near(prepared, monkeypatch, more, called):
    monkeypatch.setattr(footprint_module, "resident_bytes", lambda: 10**9)
    calls = []
    monkeypatch.setattr(memory_plan, "give_back_at_once", lambda always=True: calls.append(always))
    made = prepared()
    found = plan_memory(made)
    made.config = made.config.model_copy(
        update={"training": made.config.training.model_copy(update={"memory": f"{found.peak + 1 + more}"})}
    )
    settle(made, [].append)
    assert calls == called and not made.model.backbone.image.recomputed


def test_more_blocks_than_there_are_is_all(prepared):
    made = prepared(**{"training.checkpoint": 99})
    layers = made.model.backbone.image.layers
    assert plan_memory(made).recomputed == layers
    settle(made, [].append)
    assert made.model.backbone.image.recomputed == layers


def test_no_more_blocks_than_needed_where_towers_differ_in_depth():
    def uneven(blocks):  # the first 6 are those of two towers
        kept = Cost(0, 10 * (LAYERS - blocks) + 10 * max(0, 6 - blocks))
        return Footprint(kept, kept)

    for blocks in range(1, LAYERS):
        budget = uneven(blocks).peak.of(BATCH)
        found = choose(uneven, budget=budget, held=0, batch=BATCH, layers=LAYERS)
        assert found.recomputed == blocks


def test_what_the_heads_learn_is_held_too(prepared, monkeypatch):
    monkeypatch.setattr(footprint_module, "resident_bytes", lambda: 10**9)
    made = prepared()
    heads = 4 * len({record.identity for record in made.train}) * made.model.backbone.image.output_width
    assert made.heads >= heads
    before = plan_memory(made).held
    made.heads += 10**9
    assert plan_memory(made).held - before == 6 * 10**9  # itself, its gradient, two moments, and two while it steps


def test_a_limit_below_what_is_held_already_says_so(prepared):
    with pytest.raises(SettingsError, match=r"does not fit 1 MB: at least .* of which .* are held before the first"):
        plan_memory(prepared(**{"training.memory": "1MB"}))


def test_a_share_of_the_batch_is_planned_for_one_of_several_processes(prepared, monkeypatch):
    monkeypatch.setattr(footprint_module, "resident_bytes", lambda: 10**9)
    made = prepared()
    whole, half = plan_memory(made), plan_memory(made, 4)
    assert half.kept == whole.footprint.kept.of(4) < whole.kept == whole.footprint.kept.of(8)
