"""Many deltas on many datasets: what is loaded, what is listed, and that each result is that of one on one."""

import pytest
import torch

import reidtune.crossing
from reidtune.crossing import evaluate_all
from reidtune.delta import write_delta
from reidtune.errors import DataError, DeltaError, SettingsError
from reidtune.evaluation import evaluate_dataset
from reidtune.methods.registry import find_method
from reidtune.model import Model


@pytest.fixture
def name(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def deltas(small_backbone, header_for, tmp_path):
    """Two deltas, far from neutral."""
    page, paths = find_method("lora"), []
    for seed in (1, 2):
        method = page(page.Settings())
        tuner = method.tuner(small_backbone)
        with torch.no_grad():
            for parameter in tuner.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
        paths.append(tmp_path / f"{seed}.safetensors")
        write_delta(paths[-1], tuner.tensors(), header_for(method, small_backbone))
    return paths


@pytest.fixture
def other_world(small_world, tmp_path):
    """The test split of the small world as a table without cameras."""
    lines = ["path,identity,split"]
    for split, folder in (("query", "query"), ("gallery", "bounding_box_test")):
        lines += [f"{path},{path.name[:4]},{split}" for path in sorted((small_world / folder).glob("*.jpg"))]
    table = tmp_path / "other.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def test_each_result_is_that_of_one_delta_on_one_dataset(small_world, other_world, deltas, name):
    sources = [str(small_world), str(other_world)]
    pairs = list(evaluate_all(sources, [None, *deltas], backbone=name))
    assert [path for path, _ in pairs] == [None, None, deltas[0], deltas[0], deltas[1], deltas[1]]
    for (path, result), source in zip(pairs, sources * 3, strict=True):
        alone = evaluate_dataset(source, path or deltas[0], backbone=name, untuned=path is None)
        assert {**result, "data": None} == {**alone, "data": None}
        assert result["data"]["hash"] == alone["data"]["hash"]
    assert len({result["metrics"]["mAP"] for _, result in pairs}) == 6
    assert [result["data"]["name"] for _, result in pairs[:2]] == [small_world.name, "other.csv"]


def test_models_are_loaded_once_and_datasets_listed_once(small_world, other_world, deltas, name, monkeypatch):
    loads, lists = [], []
    load, open_dataset = reidtune.crossing.load, reidtune.crossing.open_dataset
    monkeypatch.setattr(reidtune.crossing, "load", lambda *a, **k: loads.append(a) or load(*a, **k))
    monkeypatch.setattr(reidtune.crossing, "open_dataset", lambda *a, **k: lists.append(a) or open_dataset(*a, **k))
    list(evaluate_all([str(small_world), str(other_world)], [None, *deltas], backbone=name))
    assert len(lists) == 2
    assert loads == [(deltas[0],), (deltas[1],)]  # the backbone alone is that of the first delta


def test_features_are_computed_once_across_calls_with_the_cache(small_world, deltas, name, monkeypatch, tmp_path):
    monkeypatch.setenv("REIDTUNE_CACHE", str(tmp_path / "cache"))
    images = []
    encode = Model.encode
    monkeypatch.setattr(Model, "encode", lambda self, batch: images.append(len(batch.images)) or encode(self, batch))
    first = list(evaluate_all([str(small_world)], [None, *deltas], backbone=name, cache=True))
    seen = sum(images)
    images.clear()
    said = []
    again = list(evaluate_all([str(small_world)], [None, *deltas], backbone=name, cache=True, say=said.append))
    assert not images and seen == 3 * 86
    assert [result for _, result in again] == [result for _, result in first]
    assert "86 of 86 features from the cache (--no-cache computes them anew)." in said
    list(evaluate_all([str(small_world)], deltas[:1], backbone=name, cache=True, protocol="all"))
    assert not images
    list(evaluate_all([str(small_world)], deltas[:1], backbone=name, cache=True, batch_size=32))
    assert sum(images) == 86  # other batches, other last bits
    images.clear()
    list(evaluate_all([str(small_world)], deltas[:1], backbone=name))
    assert sum(images) == 86


def test_what_is_wrong_is_said_before_the_first_evaluation(small_world, deltas, name, tmp_path, monkeypatch):
    monkeypatch.setattr(reidtune.crossing, "evaluate_dataset", lambda *a, **k: pytest.fail("evaluated"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(deltas[0].read_bytes()[:-8])
    here = [str(small_world)]
    for sources, paths, error in (
        ([*here, str(tmp_path / "nowhere")], deltas, DataError),
        (here, [deltas[0], broken], DeltaError),
        (here, [deltas[0], tmp_path / "nowhere"], SettingsError),
    ):
        with pytest.raises(error):
            next(evaluate_all(sources, paths, backbone=name))
    with pytest.raises(SettingsError):
        next(evaluate_all(here, deltas, backbone=name, device="gpu"))
    untrained = tmp_path / "train.csv"
    untrained.write_text("path,identity,split\n" + "".join(f"{small_world}/{n}.jpg,{n % 2},train\n" for n in range(4)))
    gone = tmp_path / "gone.csv"
    gone.write_text("path,identity,split\n" + "".join(f"{n}.jpg,{n % 2},test\n" for n in range(4)))
    for other, sentence in ((untrained, "no test split"), (gone, "does not exist")):
        with pytest.raises(DataError, match=sentence):
            next(evaluate_all([*here, str(other)], deltas, backbone=name))


def test_the_sheet_is_of_the_last_delta_on_the_first_dataset(small_world, other_world, deltas, name, tmp_path):
    both, alone = tmp_path / "both.png", tmp_path / "alone.png"
    list(evaluate_all([str(small_world), str(other_world)], deltas, backbone=name, sheet=both))
    evaluate_dataset(str(small_world), deltas[1], backbone=name, sheet=alone)
    assert both.read_bytes() == alone.read_bytes()
