"""Training on samples of several modalities: from folders to a delta, missing modalities, resume."""

import pytest
import torch

from reidtune.data import open_dataset
from reidtune.delta import read_header, read_tensors
from reidtune.errors import SettingsError
from reidtune.training.batches import BatchSource
from reidtune.training.open import open_run
from reidtune.training.plan import dry_run
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent

NAMES = ("rgb", "nir", "tir")


def flags(method, **more):
    return {
        "method": method,
        "backbone.name": "tiny",
        "training.steps": 4,
        "training.batch_size": 8,
        "optimiser.warmup_epochs": 0.0,
        "data.validation_fraction": 0.3,
        **more,
    }


@pytest.mark.parametrize(
    "method",
    [
        ("lora", {}),
        ("lora", {"settings.per_modality": True}),
        ("adapter", {"settings.per_modality": True}),
        ("full", {}),
        ("dmpt", {}),
        ("mambapro", {}),
        ("adapter", {"loss.heads": "each"}),
    ],
    ids=lambda method: method[0] + "".join(f"-{key}" for key in method[1]),
)
def test_every_multimodal_method_trains_saves_and_loads(method, spectral_world, tmp_path):
    import reidtune

    name, more = method
    run = open_run(str(spectral_world), None, flags(name, **more), output=tmp_path / "run")
    reporter = Silent()
    outcome = run.train(run.prepare(), reporter)
    assert outcome["metrics"]["protocol"] == "cross-camera"
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in reporter.rows if "loss" in row)
    assert all(("modality" in row) == (name == "dmpt") for row in reporter.rows if "loss" in row)
    header = read_header(tmp_path / "run" / "delta.safetensors")
    assert (header.task, header.protocol, header.data["modalities"]) == ("multimodal", "cross-camera", list(NAMES))
    model = reidtune.load(tmp_path / "run")
    assert model.modalities == NAMES
    files = [image.path for image in open_dataset(str(spectral_world)).query[0].images]
    found = model.embed_samples([dict(zip(NAMES, files, strict=True))])
    plain = reidtune.load(backbone="tiny", modalities=NAMES).embed_samples([dict(zip(NAMES, files, strict=True))])
    assert found.shape == plain.shape == (1, 3 * 128)
    assert not torch.equal(found, plain)


def test_the_recipe_is_found_by_what_the_data_is(spectral_world, tmp_path):
    run = open_run(str(spectral_world), None, {"method": "lora", "backbone.name": "tiny"}, output=tmp_path / "a")
    large = open_run(str(spectral_world), None, {"method": "lora", "backbone.name": "ViT-B-16"}, output=tmp_path / "b")
    assert (run.config.loss.margin, run.config.loss.identity) == ("soft", 0.25)
    assert large.config.backbone.image_size == (256, 128)


def test_a_resumed_run_ends_in_the_same_bytes_also_with_dropped_modalities(spectral_world, tmp_path):
    more = flags("dmpt", **{"augmentation.drop_modality": 0.4, "training.steps": 6})
    whole = open_run(str(spectral_world), None, more, output=tmp_path / "whole")
    whole.train(whole.prepare(), Silent())
    cut = open_run(str(spectral_world), None, more, output=tmp_path / "cut")
    with pytest.raises(Interrupted):
        cut.train(cut.prepare(), InterruptAt(3))
    again = open_run(None, None, {}, resume=tmp_path / "cut")
    again.train(again.prepare(), Silent())
    one, two = (read_tensors(tmp_path / name / "delta.safetensors") for name in ("whole", "cut"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_modalities_are_dropped_by_the_sample_s_seed(spectral_world, tmp_path):
    run = open_run(
        str(spectral_world), None, flags("dmpt", **{"augmentation.drop_modality": 0.5}), output=tmp_path / "run"
    )
    prepared = run.prepare()
    labels = {record.identity: 0 for record in prepared.train}
    source = BatchSource(prepared.train, labels, False, prepared.model.backbone, run.config, NAMES)
    chosen = [list(range(8)), list(range(8, 16))]
    first, second = source.batches(chosen, 0)
    assert first.present.shape == (8, 3) and first.present.any(1).all() and not first.present.all()
    assert not torch.equal(first.present, second.present)
    (alone,) = source.batches(chosen, 0, start=1)
    assert torch.equal(alone.present, second.present) and torch.equal(alone.images, second.images)
    (other,) = source.batches(chosen[:1], 1)
    assert not torch.equal(other.present, first.present)


def test_the_dry_run_counts(spectral_world, tmp_path):
    run = open_run(str(spectral_world), None, flags("dmpt"), output=tmp_path / "run")
    counted = dry_run(run.prepare())
    assert counted["parameters"]["trainable"] == 70_144
    assert counted["data"]["modalities"] == list(NAMES)
    assert counted["memory"]["activation_bytes_per_image"] > 3_000_000
    assert not (tmp_path / "run").exists()


def test_parts_for_each_modality_need_modalities(small_world, tmp_path):
    run = open_run(str(small_world), None, flags("lora", **{"settings.per_modality": True}), output=tmp_path / "run")
    with pytest.raises(SettingsError, match="per_modality needs multi-modal data, but this is image data"):
        run.prepare()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"settings.modalities": ["rgb"]}, "settings.modalities is rgb, but the data has rgb, nir, tir"),
        ({"settings.towers": "both"}, "multimodal data teaches the text tower nothing"),
    ],
)
def test_settings_that_the_data_contradicts_are_refused(more, said, spectral_world, tmp_path):
    run = open_run(str(spectral_world), None, flags("lora", **more), output=tmp_path / "run")
    with pytest.raises(SettingsError, match=said):
        run.prepare()


def test_losses_of_other_data_are_refused(spectral_world, tmp_path):
    run = open_run(str(spectral_world), None, flags("lora", **{"loss.sdm": 1.0}), output=tmp_path / "run")
    with pytest.raises(SettingsError, match="loss.sdm is not computed on multimodal data"):
        run.prepare()
    run = open_run(str(spectral_world), None, flags("cskt"), output=tmp_path / "b")
    with pytest.raises(SettingsError, match="is for text data, but this is multimodal data"):
        run.prepare()


def test_texts_of_modalities_are_there_where_weights_are_held_in_bf16(spectral_world, tmp_path):
    more = {"training.precision": "bf16", "loss.modality": 1.0, "training.steps": 2}
    run = open_run(str(spectral_world), None, flags("dmpt", **more), output=tmp_path / "run")
    prepared, reporter = run.prepare(), Silent()
    run.train(prepared, reporter)
    assert 0 < reporter.rows[-1]["modality"] < 20
    assert dry_run(prepared)["memory"]["activation_bytes_per_image"] > 0  # also afterwards
