"""A delta with embeddings of cameras through the house: training, evaluation, features, search, export."""

from __future__ import annotations

import shutil

import pytest
import torch

import reidtune
from reidtune.delta import read_header, read_tensors, verify
from reidtune.embedding import embed_to_file
from reidtune.errors import SettingsError
from reidtune.evaluation import evaluate_dataset
from reidtune.export.formats import export_delta
from reidtune.training.open import open_run
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent


def flags_of(method="lora", **more):
    return {
        "method": method,
        "backbone.name": "tiny",
        "training.steps": 6,
        "training.batch_size": 8,
        "training.instances": 2,
        "training.workers": 0,
        "training.validate_every": 9,
        "data.validation_fraction": 0.3,
        "settings.camera_embedding": "camera",
        **more,
    }


def start(world, flags, output, reporter=None, **options):
    run = open_run(str(world), None, flags, output=output, **options)
    run.train(run.prepare(), reporter or Silent())
    return output


@pytest.fixture(scope="module")
def trained(small_world, tmp_path_factory):
    return start(small_world, flags_of(), tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def elsewhere(small_world, tmp_path):
    """The same images as another dataset: a file is called something else."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(small_world, folder)
    first = min((folder / "bounding_box_test").glob("0*_c*.jpg"), default=None) or min(
        (folder / "bounding_box_test").iterdir()
    )
    first.rename(first.with_name(first.name.replace("_0", "_9", 1)))
    return folder


def test_the_delta_knows_its_cameras_and_they_were_trained(trained, small_world):
    verify(trained)
    header = read_header(trained)
    assert header.settings["camera_embedding"] == "camera"
    assert header.settings["cameras"] == [1, 2, 3, 4, 5, 6]
    rows = read_tensors(trained)["camera_embedding.rows"]
    fresh = open_run(str(small_world), None, flags_of(), output=trained / "x").prepare().model.tuner.tensors()
    assert rows.shape == fresh["camera_embedding.rows"].shape
    assert ((rows - fresh["camera_embedding.rows"]).abs().amax(1) > 0).all()
    assert 'camera_embedding = "camera"' in (trained / "recipe.toml").read_text()


def test_an_interrupted_run_ends_in_the_same_bytes(trained, small_world, tmp_path):
    run = tmp_path / "broken"
    with pytest.raises(Interrupted):
        start(small_world, flags_of(), run, InterruptAt(4))
    resumed = open_run(None, None, {}, resume=run)
    resumed.train(resumed.prepare(), Silent())
    assert (run / "delta.safetensors").read_bytes() == (trained / "delta.safetensors").read_bytes()


def test_its_own_dataset_is_evaluated_with_its_cameras(trained, small_world):
    said = []
    own = evaluate_dataset(str(small_world), trained, say=said.append)
    assert own["cameras"] == "known"
    assert not any("embedding of each camera" in sentence for sentence in said)
    mean = evaluate_dataset(str(small_world), trained, cameras="mean", say=said.append)
    assert mean["cameras"] == "mean" and "the mean of its 6 embeddings" in said[-1]
    assert mean["metrics"] != own["metrics"]
    assert "cameras" not in evaluate_dataset(str(small_world), trained, untuned=True)


def test_other_data_is_refused_until_the_user_decides(trained, small_world, elsewhere):
    with pytest.raises(SettingsError, match="equal numbers need not be the same camera") as caught:
        evaluate_dataset(str(elsewhere), trained)
    assert caught.value.exit_code == 2
    assert "--cameras known" in caught.value.hint
    known = evaluate_dataset(str(elsewhere), trained, cameras="known")
    assert known["metrics"] == evaluate_dataset(str(small_world), trained)["metrics"]


def test_features_in_files(trained, small_world, tmp_path):
    result = embed_to_file(small_world, tmp_path / "own.npy", trained, splits=["test"])
    assert result["cameras"] == "known"
    photos = tmp_path / "photos"
    photos.mkdir()
    for place, file in enumerate(sorted((small_world / "query").glob("*.jpg"))[:3]):
        shutil.copy(file, photos / f"photo-{place}.jpg")
    with pytest.raises(SettingsError, match="the camera of these images is not known"):
        embed_to_file(photos, tmp_path / "photos.npy", trained)
    assert not (tmp_path / "photos.npy").exists()
    assert embed_to_file(photos, tmp_path / "photos.npy", trained, cameras="none")["cameras"] == "none"


def test_single_images(trained, small_world):
    model = reidtune.load(trained)
    images = sorted((small_world / "query").glob("*.jpg"))[:3]
    with pytest.raises(SettingsError, match="the camera of these images is not known"):
        model.embed_images(images)
    known = model.embed_images(images, batch_size=2, cameras=[1, 2, 1])
    assert torch.allclose(known[1:2], model.embed_images(images[1:2], cameras=[2]), atol=1e-5)
    assert not torch.allclose(known[1:2], model.embed_images(images[1:2], cameras=[3]), atol=1e-5)
    with pytest.raises(SettingsError, match="but an image is of 12"):
        model.embed_images(images, cameras=[1, 12, 2])
    with pytest.raises(SettingsError, match="There are 2 cameras for 3 images"):
        model.embed_images(images, cameras=[1, 2])
    with pytest.raises(SettingsError, match="'c1' is not the number of a camera"):
        model.embed_images(images, cameras=["c1", 2, 3])
    model.use_cameras("mean")
    mean = model.embed_images(images)
    assert torch.equal(mean, reidtune.load(trained, cameras="mean").embed_images(images))
    assert not torch.allclose(mean, reidtune.load(trained, cameras="none").embed_images(images), atol=1e-5)


def test_search_needs_a_choice_and_keeps_an_index_for_each(trained, small_world, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in sorted((small_world / "query").glob("*.jpg"))[:4]:
        shutil.copy(file, photos)
    first = next(photos.iterdir())
    with pytest.raises(SettingsError, match="the camera of these images is not known"):
        reidtune.search(reidtune.load(trained), photos, image=first)
    found = [reidtune.search(reidtune.load(trained, cameras=use), photos, image=first) for use in ("mean", "none")]
    scores = [[match.score for match in result.matches] for result in found]
    assert scores[0] != scores[1]
    assert all(result.to_json()["index"]["embedded"] == 4 for result in found)


def test_it_does_not_merge_and_may_be_halved(trained, small_world, tmp_path):
    with pytest.raises(SettingsError, match="plain open_clip knows no cameras: it cannot be merged"):
        export_delta(trained, "open_clip", tmp_path / "merged")
    export_delta(trained, "half", tmp_path / "half.safetensors")
    assert evaluate_dataset(str(small_world), tmp_path / "half.safetensors")["cameras"] == "known"


def test_a_start_from_other_cameras_is_refused(trained, small_world, tmp_path):
    without = flags_of(**{"settings.camera_embedding": "none"})
    with pytest.raises(SettingsError, match=r"has an embedding of each camera .*, but this run has no embeddings"):
        start(small_world, without, tmp_path / "a", init_from=trained)
    start(small_world, flags_of(), tmp_path / "b", init_from=trained)


def test_joined_data_is_refused(small_world, spectral_world, elsewhere, tmp_path):
    run = open_run([str(small_world), str(elsewhere)], None, flags_of(), output=tmp_path / "run")
    with pytest.raises(SettingsError, match="several datasets joined"):
        run.prepare()


def test_kept_features_are_those_of_the_cameras(trained, tmp_path, small_world):
    """The same files with other cameras, as a table with other columns has them, are not taken from the cache."""
    files = sorted((small_world / "query").glob("*.jpg"))[:12]
    lines = [f"{f},{f.name[:4]},{n % 2 + 1},{(n // 2) % 3 + 3}" for n, f in enumerate(files)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,identity,one,two", *lines]) + "\n")
    found = [
        evaluate_dataset(
            str(table), trained, columns={"camera": name}, protocol="leave-one-out", cameras="known", cache=c
        )
        for name, c in (("one", True), ("two", True), ("two", False))
    ]
    assert found[1]["metrics"] == found[2]["metrics"]


@pytest.mark.parametrize("method", ["lora", "mambapro"])
def test_multimodal_data(method, spectral_world, small_backbone, tmp_path):
    backbone = f"local-dir:{small_backbone.architecture.folder}"
    small = {"backbone.name": backbone, "backbone.image_size": "32x16", "training.steps": 2}
    run = start(spectral_world, flags_of(method, **small), tmp_path / "run")
    cameras = read_header(run).settings["cameras"]
    assert len(cameras) > 1
    assert evaluate_dataset(str(spectral_world), run, backbone=backbone)["cameras"] == "known"
    model = reidtune.load(run, backbone=backbone)
    image = next((spectral_world / "test").rglob("*.jpg"))
    with pytest.raises(SettingsError, match="the camera of these images is not known"):
        model.embed_samples([{"rgb": image}])
    assert model.embed_samples([{"rgb": image}], cameras=cameras[:1]).shape == (1, model.image_width)


def test_data_without_cameras_is_refused(small_world, tmp_path):
    table = tmp_path / "table.csv"
    files = sorted((small_world / "bounding_box_train").glob("*.jpg"))
    rows = [f"{file},{file.name[:4]},{'train' if place % 2 else 'test'}" for place, file in enumerate(files)]
    table.write_text("\n".join(["path,identity,split", *rows]) + "\n")
    with pytest.raises(SettingsError, match="no image of the training data has a known camera"):
        open_run(str(table), None, flags_of(), output=tmp_path / "run").prepare()
