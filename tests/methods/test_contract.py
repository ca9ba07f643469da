"""Every method × every check of the contract, on a backbone of two blocks."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from reidtune.backbone.load import load_backbone
from reidtune.config import LossSection, validate_settings
from reidtune.data.batch import Batch
from reidtune.data.record import ImageFile, Record
from reidtune.delta import read_tensors, write_delta
from reidtune.errors import DeltaError
from reidtune.fusion import by_sample, join, modality_walk
from reidtune.methods.base import Facts
from reidtune.methods.registry import METHOD_SUMMARIES, find_method, method_names
from reidtune.model import Model, image_walk, text_walk
from reidtune.tuning.tuner import Tuner
from tests.methods.matrix import IDS, ROWS, TRAINED, TRAINED_IDS


def make(row, backbone, seed=1):
    page = find_method(row.name)
    method = page(validate_settings(page.Settings, row.settings))
    return method, method.tuner(backbone, seed)


def disturb(tuner):
    """Values as after some training: nothing is at its start any more."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in tuner.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return tuner.eval()


LOSSES = {
    "image": LossSection(),
    "text": LossSection(identity=0.0, triplet=0.0, sdm=1.0, auxiliary=0.5),
    "multimodal": LossSection(identity=0.25, margin="soft"),
}
MODALITIES = ("rgb", "nir", "tir")
CAPTIONS = ["a man", "a woman in a long red coat", "somebody with a dog and two bags", "a person"]


def sample(backbone, task, count=3):
    """A batch of ``count`` samples, the first two of one identity; multi-modal ones lack some modalities."""
    size = (backbone.preprocess.height, backbone.preprocess.width)
    shape = (count, 3, 3, *size) if task == "multimodal" else (count, 3, *size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    present = (
        torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 1]][:count]).bool() if task == "multimodal" else None
    )
    texts = backbone.tokenizer(CAPTIONS[:count]) if task == "text" else None
    labels = torch.tensor([0, 0, 1, 2][:count])
    return Batch(images, None, labels, torch.arange(5, 5 + count), texts, torch.arange(count), present)


def features(backbone, tuner, batch):
    """Image features, and beside them text features where the batch has captions, normalised."""
    if batch.images.ndim == 5:
        images, walk = modality_walk(batch)
        found = [join(by_sample(backbone.image(images, tuner, walk), walk, *batch.images.shape[:2]), batch.present)]
    else:
        found = [backbone.image(batch.images, tuner, image_walk(batch))]
    if batch.texts is not None:
        found.append(backbone.text(batch.texts, tuner, text_walk(batch)))
    return torch.cat([torch.nn.functional.normalize(part.float(), dim=-1) for part in found], dim=1)


def test_every_method_has_a_row_and_a_summary():
    assert {row.name for row in ROWS} == set(method_names())
    assert set(METHOD_SUMMARIES) == {row.name for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_start_is_the_backbone_where_the_paper_has_a_neutral_start(row, small_backbone):
    method, tuner = make(row, small_backbone)
    batch = sample(small_backbone, row.task)
    with torch.no_grad():
        ours = features(small_backbone, tuner.eval(), batch)
        plain = features(small_backbone, Tuner(), batch)
    assert (ours.shape == plain.shape and torch.allclose(ours, plain, atol=1e-6)) == method.neutral_start


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_only_the_tuner_learns_and_every_tensor_gets_a_gradient_within_two_steps(row, small_backbone, tmp_path):
    records = []
    for number in range(4):
        file = tmp_path / f"{number}.png"
        Image.effect_noise((16, 32), 40 + 20 * number).convert("RGB").save(file)
        records.append(Record((ImageFile(file),), 1 + max(0, number - 1)))
    method, tuner = make(row, small_backbone)
    model = Model(small_backbone, tuner)
    batch = sample(small_backbone, row.task, 4)
    losses = LOSSES[row.task].model_copy(update={"modality": 1.0 if row.name == "dmpt" else 0.0})
    objective = method.objective(tuner, small_backbone, 3, losses, row.task, MODALITIES)
    reached = set()
    for stage in method.stages():
        for name, parameter in tuner.named_parameters():
            parameter.requires_grad_(stage.trains(name))
        before = {name: value.clone() for name, value in tuner.state_dict().items()}
        with torch.no_grad():
            method.begin(stage, model, records)
        given = batch
        if stage.features:
            given = replace(batch, images=None, frozen=small_backbone.image(batch.images, Tuner()).detach())
        tuner.train()
        optimiser = torch.optim.SGD([p for p in tuner.parameters() if p.requires_grad], lr=0.1)
        for step in range(2):
            torch.manual_seed(step)
            loss, _ = objective(method.encode(model, given), batch.labels)
            optimiser.zero_grad()
            loss.backward()
            reached |= {name for name, p in tuner.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
            optimiser.step()
        for name, value in tuner.state_dict().items():
            assert stage.trains(name) or torch.equal(value, before[name]), f"{name} in {stage.name}"
    assert reached == {name for name, _ in tuner.named_parameters()}
    assert all(parameter.grad is None for parameter in small_backbone.model.parameters())


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_saved_and_loaded_features_are_bit_equal(row, small_backbone, tmp_path, header_for):
    method, tuner = make(row, small_backbone)
    disturb(tuner)
    path = tmp_path / "delta.safetensors"
    write_delta(path, tuner.tensors(), header_for(method, small_backbone))
    _, again = make(row, small_backbone, seed=2)
    again.load_tensors(read_tensors(path))
    with torch.no_grad():
        before = features(small_backbone, tuner, sample(small_backbone, row.task))
        after = features(small_backbone, again.eval(), sample(small_backbone, row.task))
    assert torch.equal(before, after)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_merged_features_are_those_of_the_tuner(row, small_backbone):
    _, tuner = make(row, small_backbone)
    disturb(tuner)
    state = {name: value.clone() for name, value in small_backbone.model.state_dict().items()}
    merged = tuner.merge(state, {"image": small_backbone.image, "text": small_backbone.text})
    assert merged == row.mergeable
    if not merged:
        return
    batch = sample(small_backbone, row.task)
    several = batch.images.ndim == 5
    images, walk = modality_walk(batch) if several else (batch.images, None)
    with torch.no_grad():
        ours = features(small_backbone, tuner, batch)
        merged = torch.func.functional_call(small_backbone.model, state, (images, batch.texts))[:2]
        if several:  # open_clip normalises each image's feature: so are ours, one by one
            ours = torch.nn.functional.normalize(small_backbone.image(images, tuner, walk), dim=-1)
    merged = torch.cat([part for part in merged if part is not None], dim=1)
    assert torch.allclose(ours, merged, atol=1e-5)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_key_set(row, small_backbone):
    _, tuner = make(row, small_backbone)
    expected = {name.format(l=layer) for name in row.tensors for layer in range(2)}
    assert set(tuner.tensors()) == expected


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_initial_values_depend_on_the_seed_alone(row, small_backbone):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    _, one = make(row, small_backbone)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    _, two = make(row, small_backbone)
    assert all(torch.equal(value, two.tensors()[name]) for name, value in one.tensors().items())


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_bf16_autocast_on_the_cpu_is_close_to_fp32(row, small_backbone):
    _, tuner = make(row, small_backbone)
    tuner.eval()
    with torch.no_grad():
        exact = features(small_backbone, tuner, sample(small_backbone, row.task))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = features(small_backbone, tuner, sample(small_backbone, row.task))
        rough.sum().backward()
    assert all(parameter.grad is None or parameter.grad.dtype == torch.float32 for parameter in tuner.parameters())
    difference = (rough - exact).abs().max() / exact.abs().max()
    assert 0 < difference < 0.05


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_parts_of_a_batch_give_the_features_of_the_whole_also_with_dropout(row, small_backbone):
    _, tuner = make(row, small_backbone)
    disturb(tuner).train()
    batch = sample(small_backbone, row.task, 4)
    halves = [Batch(*(None if part is None else part[i : i + 2] for part in vars(batch).values())) for i in (0, 2)]
    with torch.no_grad():
        whole = features(small_backbone, tuner, batch)
        parts = [features(small_backbone, tuner, half) for half in halves]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


@pytest.mark.parametrize("row", TRAINED, ids=TRAINED_IDS)
def test_tensors_that_do_not_fit_are_named(row, small_backbone):
    _, tuner = make(row, small_backbone)
    tensors = tuner.tensors()
    first = next(iter(tensors))
    with pytest.raises(DeltaError, match=f"lacks the tensor {first}"):
        tuner.load_tensors({name: value for name, value in tensors.items() if name != first})
    with pytest.raises(DeltaError, match="tensor that its method does not know: zzz"):
        tuner.load_tensors({**tensors, "zzz": tensors[first]})
    with pytest.raises(DeltaError, match=f"{first} has shape"):
        tuner.load_tensors({**tensors, first: torch.zeros(1, 2, 3, 4)})


@pytest.mark.parametrize(
    ("name", "count"),
    [("dm-adapter", 15_669_528), ("cskt", 12_117_888), ("prompt-decoupling", 149_617_664 + 61_440)],
)
def test_published_parameter_counts_at_384_by_128(name, count):
    backbone = load_backbone("ViT-B-16", "none", image_size=(384, 128))
    page = find_method(name)
    assert page(page.Settings()).tuner(backbone).parameter_count() == count


@pytest.mark.parametrize("name", method_names())
def test_parameter_count_on_vit_b_16(name, vit_b_16):
    page = find_method(name)
    settings = page.Settings()
    if page.tasks == ("multimodal",):
        settings = page.complete(settings, Facts("multimodal", "person", 171, 4, MODALITIES))
    assert page(settings).tuner(vit_b_16).parameter_count() == page.parameters_vit_b16


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("lora", {"targets": ["fc1", "fc2"]}, 737_280),
        ("lora", {"targets": ["q", "k", "v", "out"]}, 589_824),
        ("vpt", {"deep": False}, 7_680),
        ("adapter", {"width": 32}, 599_424),
        ("adapter", {"placement": "sequential"}, 2_379_264),
        ("adapter", {"width": 32, "blocks": 4}, 199_808),
        ("lora", {"blocks": 4}, 98_304),
        ("lora", {"blocks": 12}, 294_912),
        ("bias", {"blocks": 12}, 102_912),
        ("norm", {"blocks": 4}, 4 * 4 * 768 + 2 * 768),
        ("lora", {"towers": "both"}, 294_912 + 196_608),
        ("ivlp", {"tokens": 4}, 61_440),  # and the prompts of prompt-decoupling
        ("ivlp", {"tokens": 8}, 122_880),
        ("prompt-decoupling", {"tune": "lora"}, 61_440 + 294_912 + 196_608),
        ("up-person", {"rank": 16, "prefix": 2}, 5_146_368 + 983_040 + 61_440 + 72),
    ],
)
def test_parameter_counts_of_other_settings_on_vit_b_16(name, settings, count, vit_b_16):
    page = find_method(name)
    assert page(page.Settings(**settings)).tuner(vit_b_16).parameter_count() == count


def test_the_default_delta_of_vit_b_16_is_1_2_megabytes(vit_b_16, tmp_path, header_for):
    page = find_method("lora")
    method = page(page.Settings())
    path = tmp_path / "delta.safetensors"
    write_delta(path, method.tuner(vit_b_16).tensors(), header_for(method, vit_b_16))
    assert 1.18e6 <= path.stat().st_size <= 1.25e6  # 294,912 fp32 values, 302 names and hashes of the backbone
