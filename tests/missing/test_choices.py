"""Which modalities and which task can be chosen, by the data and by what the delta was trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from reidtune.data import Dataset, ImageFile, Record, open_dataset
from reidtune.errors import SettingsError
from reidtune.evaluation import evaluate_dataset
from reidtune.missing import plan_known
from reidtune.model import load
from reidtune.retrieval.rank import rank
from tests.missing.known import NAMES, reference


def test_one_modality_as_plain_images(spectral_world, name, delta):
    dataset, said = open_dataset(spectral_world), []
    for names, chosen in ((None, "rgb"), (["tir", "nir"], "nir")):
        result = evaluate_dataset(
            str(spectral_world), delta(), backbone=name, task="image", modalities=names, say=said.append
        )
        place = NAMES.index(chosen)
        features = load(delta(), backbone=name).embed_images([record.images[place].path for record in dataset.query])
        ids, cameras = ([getattr(record, key) for record in dataset.query] for key in ("identity", "camera"))
        expected = rank(
            features, features, query_ids=ids, gallery_ids=ids, query_cameras=cameras, gallery_cameras=cameras
        )
        assert result["metrics"] == pytest.approx(expected.metrics())
        assert (result["task"], result["modalities"]["query"]) == ("image", [chosen])
        assert said[-1] == f"One modality a sample: {chosen}."
    cross = evaluate_dataset(
        str(spectral_world), backbone=name, task="image", query_modalities=["tir"], say=said.append
    )
    assert cross["modalities"] == {"query": ["tir"], "gallery": ["rgb"]}
    assert said[-1] == "Queries are tir alone, the gallery rgb."


def test_a_multimodal_delta_takes_one_modality_as_a_sample_that_lacks_the_others(spectral_world, name, delta):
    path = delta(NAMES)
    single = evaluate_dataset(str(spectral_world), path, backbone=name, task="image", modalities=["nir"])
    same = evaluate_dataset(str(spectral_world), path, backbone=name, modalities=["nir"])
    assert single["metrics"] == same["metrics"]


def test_a_delta_reads_what_it_knows(spectral_world, small_world, name, delta, opened):
    said = []
    evaluate_dataset(str(spectral_world), delta((*NAMES, "lwir")), backbone=name, say=said.append)
    assert said[-1] == "The delta was also trained on lwir, missing here."
    narrow = delta(("nir", "tir"))
    with pytest.raises(SettingsError, match="trained on nir and tir, and the data has rgb") as caught:
        evaluate_dataset(str(spectral_world), narrow, backbone=name)
    assert "--modalities nir,tir" in caught.value.hint
    result = evaluate_dataset(str(spectral_world), narrow, backbone=name, modalities=["nir", "tir"])
    expected = reference(open_dataset(spectral_world), load(narrow, backbone=name), ("nir", "tir"), ("nir", "tir"))
    assert result["metrics"] == pytest.approx(expected.metrics())
    with pytest.raises(SettingsError, match="trained on nir and tir, and the data has rgb"):
        evaluate_dataset(str(small_world), narrow, backbone=name)
    # Image data are samples of which all but the visible image is missing.
    result = evaluate_dataset(str(small_world), delta(NAMES), backbone=name)
    assert (result["task"], result["modalities"]["query"]) == ("image", ["rgb"])
    assert result["metrics"] == pytest.approx(evaluate_dataset(str(small_world), delta(), backbone=name)["metrics"])


def test_captions_have_no_joined_features(name, delta, opened, tmp_path):
    records = []
    for place in range(4):
        Image.new("RGB", (8, 16), (60 * place, 90, 10)).save(tmp_path / f"{place}.png")
        image = ImageFile(tmp_path / f"{place}.png")
        records.append(Record((image,), 1 + place // 2, captions=(f"number {place}",)))
    opened(Dataset(tmp_path, "table", "text", "cross-modality", (), records, records, "Four images."))
    with pytest.raises(SettingsError, match="joins features of rgb and nir, which cannot be compared") as caught:
        evaluate_dataset("any", delta(("rgb", "nir")), backbone=name)
    assert "--task image" in caught.value.hint
    result = evaluate_dataset("any", delta(("rgb", "nir")), backbone=name, task="image")
    assert (result["protocol"], result["queries"]["total"]) == ("leave-one-out", 4)


def test_choices_are_for_data_with_a_choice(small_world, name):
    for flag, value in (
        ("modalities", ["rgb"]),
        ("query_modalities", ["rgb"]),
        ("gallery_modalities", ["rgb"]),
        ("matrix", True),
    ):
        with pytest.raises(
            SettingsError, match=f"--{flag.replace('_', '-')} is for multi-modal data, but this is image"
        ):
            evaluate_dataset(str(small_world), backbone=name, **{flag: value})


def test_what_is_wrong_is_said_before_a_model_is_loaded(spectral_world, opened):
    missing = "local-dir:/nowhere"
    for wrong, sentence in (
        ({"query_modalities": ["rgbb"]}, '--query-modalities: the data has no modality "rgbb". Did you mean "rgb"'),
        ({"modalities": []}, "--modalities names no modality"),
        ({"matrix": True, "task": "image"}, "--task image takes one"),
        ({"task": "text"}, "--task text cannot be evaluated on multimodal data"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            evaluate_dataset(str(spectral_world), backbone=missing, **wrong)
    five = opened(replace(open_dataset(spectral_world), modalities=(*NAMES, "lwir", "depth")))
    with pytest.raises(SettingsError, match="5 modalities have 31 subsets"):
        evaluate_dataset("any", backbone=missing, matrix=True)
    known = plan_known(five, query=["rgb", "depth"], gallery=["tir"], matrix=True)
    assert (known.query, known.gallery, known.pieces) == (("rgb", "depth"), ("tir",), 5)
    assert known.shown == ("rgb", "tir", "depth")
