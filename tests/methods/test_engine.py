"""Every method × what the engine does for speed and memory: outputs, statistics and gradients stay as they are."""

import pytest
import torch
from PIL import Image

from reidtune.data.record import ImageFile, Record
from reidtune.methods.base import Method
from reidtune.model import Model
from reidtune.training.memory import saved_bytes
from reidtune.tuning.tuner import Tuner
from tests.methods.matrix import TRAINED, TRAINED_IDS
from tests.methods.test_contract import disturb, make, sample


class Uncut(Tuner):
    """Reads everything, so that towers leave nothing out."""

    def reads_all_tokens(self, walk):
        return True

    def observes(self, walk):
        return False


@pytest.fixture
def records(tmp_path):
    """Images for methods that look at all of them when a stage begins."""
    found = []
    for number in range(3):
        file = tmp_path / f"{number}.png"
        Image.effect_noise((16, 32), 40 + 20 * number).convert("RGB").save(file)
        found.append(Record((ImageFile(file),), 1 + max(0, number - 1)))
    return found


def run(method: Method, tuner, backbone, batch):
    """Outputs and gradients of a fixed scalar of them."""
    tuner.zero_grad(set_to_none=True)
    outputs = method.encode(Model(backbone, tuner.train()), batch)
    total = torch.zeros(())
    for place, (name, value) in enumerate(sorted(outputs.items())):
        if value.requires_grad:
            weights = torch.linspace(-1, 1, value.numel()).view_as(value) + 0.1 * place
            total = total + (value * weights).sum() / (100.0 if name.startswith("statistics") else 1.0)
    total.backward()
    gradients = {name: p.grad.clone() for name, p in tuner.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in outputs.items()}, gradients


def same(one, other, tolerance=1e-5):
    """Within ``tolerance`` of the largest entry, and no entry's rounding counts that is lost in the largest of all."""
    assert set(one) == set(other)
    floor = 1e-2 * max(value.float().abs().max() for value in other.values())
    for name, value in one.items():
        expected = other[name].float()
        assert (value.float() - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=floor), name


def last_stage(row, backbone, records):
    method, tuner = make(row, backbone)
    disturb(tuner)
    stage = method.stages()[-1]
    for name, parameter in tuner.named_parameters():
        parameter.requires_grad_(stage.trains(name))
    with torch.no_grad():
        method.begin(stage, Model(backbone, tuner.train()), records)
    return method, tuner.train()


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_rows_left_out_of_the_last_block_change_nothing(row, small_backbone, records):
    method, tuner = last_stage(row, small_backbone, records)
    batch = sample(small_backbone, row.task)
    outputs, gradients = run(method, tuner, small_backbone, batch)
    uncut = Uncut(tuner.components())
    expected, their_gradients = run(method, uncut, small_backbone, batch)
    same(outputs, expected)
    same(gradients, their_gradients)


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_rows_left_out_are_not_computed(row, small_backbone, records):
    """What autograd keeps of a frozen tower with gradients at its input shows whether the last block was cut."""
    method, tuner = last_stage(row, small_backbone, records)
    batch = sample(small_backbone, row.task)
    held = [*tuner.parameters(), *small_backbone.model.parameters()]
    kept = {}
    for name, own in (("cut", tuner), ("uncut", Uncut(tuner.components()).train())):
        kept[name] = saved_bytes(lambda own=own: method.encode(Model(small_backbone, own), batch), held)
    trained_before_last = tuner.first_block(small_backbone.image) < small_backbone.image.layers
    assert kept["cut"] < kept["uncut"] or not trained_before_last


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
@pytest.mark.parametrize("blocks", [1, 2])
def test_blocks_computed_again_change_nothing_and_keep_less(row, blocks, small_backbone, records):
    method, tuner = last_stage(row, small_backbone, records)
    batch = sample(small_backbone, row.task)
    held = [*tuner.parameters(), *small_backbone.model.parameters()]
    towers = (small_backbone.image, small_backbone.text)
    outputs, gradients = run(method, tuner, small_backbone, batch)
    plain = saved_bytes(lambda: method.encode(Model(small_backbone, tuner.train()), batch), held)
    try:
        for tower in towers:
            tower.recomputed = blocks
        again, gradients_again = run(method, tuner, small_backbone, batch)
        kept = saved_bytes(lambda: method.encode(Model(small_backbone, tuner.train()), batch), held)
    finally:
        for tower in towers:
            tower.recomputed = 0
    assert set(outputs) == set(again) and all(torch.equal(outputs[name], again[name]) for name in outputs)
    assert set(gradients) == set(gradients_again)
    assert all(torch.equal(gradients[name], gradients_again[name]) for name in gradients)
    if tuner.first_block(small_backbone.image) == 0:
        assert kept < plain


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_queries_keys_and_values_are_kept_once(row, small_backbone, records):
    """What components leave as it was holds no more than itself."""
    method, tuner = last_stage(row, small_backbone, records)
    batch = sample(small_backbone, row.task)
    seen = []
    original = torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, *others, **options):
        parts = (query, key, value)
        if not others and any(part.requires_grad for part in parts):  # else it is PyTorch's own attention that asks
            storages = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in parts}
            seen.append((sum(storages.values()), sum(part.numel() * part.element_size() for part in parts)))
        return original(query, key, value, *others, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reidtune.backbone.tower.F.scaled_dot_product_attention", watched)
        method.encode(Model(small_backbone, tuner), batch)
    assert all(held <= used for held, used in seen)
