"""Evaluating multi-modal data, also where only some modalities of a side are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from PIL import Image

from reidtune.data import open_dataset
from reidtune.evaluation import evaluate_dataset
from reidtune.model import load
from tests.missing.known import NAMES, reference


def test_samples_are_ranked_by_their_joined_features(spectral_world, name, delta):
    dataset = open_dataset(spectral_world)
    seen, said = [], []
    result = evaluate_dataset(
        str(spectral_world), backbone=name, batch_size=30, say=said.append, progress=lambda *count: seen.append(count)
    )
    expected = reference(dataset, load(backbone=name, modalities=NAMES))
    assert result["metrics"] == pytest.approx(expected.metrics())
    assert (result["task"], result["protocol"]) == ("multimodal", "cross-camera")
    total = len(dataset.query)
    assert result["queries"] == {"total": total, "skipped": 0}
    assert result["gallery"] == {"total": total, "ignored": 0}
    assert result["modalities"] == {"query": list(NAMES), "gallery": list(NAMES)}
    assert result["left_out"] == {"query": 0, "gallery": 0}
    assert result["data"]["hash"] == dataset.manifest()["hash"]
    assert "matrix" not in result
    assert seen[-1] == (total, total)  # query and gallery are one set, embedded once
    assert said == [dataset.sentence]
    # An image delta is joined as the backbone alone is; a multi-modal one, too, in its own order.
    tuned = evaluate_dataset(str(spectral_world), delta(), backbone=name)
    expected = reference(dataset, load(delta(), backbone=name, modalities=NAMES))
    assert tuned["metrics"] == pytest.approx(expected.metrics())
    assert tuned["metrics"] != result["metrics"]
    other = evaluate_dataset(str(spectral_world), delta(("tir", "rgb", "nir")), backbone=name)
    assert other["metrics"] == pytest.approx(tuned["metrics"])
    assert evaluate_dataset(str(spectral_world), delta(NAMES), backbone=name, untuned=True) == result


def test_a_delta_keeps_its_own_order_of_modalities(spectral_world, name, delta):
    """It has parts by the place of a modality, and the data's own order would give them to others."""
    path, order = delta(("tir", "rgb", "nir"), each=True), ("tir", "rgb", "nir")
    model = load(path, backbone=name)
    assert model.modalities == order
    dataset = open_dataset(spectral_world)
    result = evaluate_dataset(str(spectral_world), path, backbone=name)
    assert result["metrics"] == pytest.approx(reference(dataset, model).metrics())
    model.modalities = NAMES
    assert result["metrics"] != pytest.approx(reference(dataset, model).metrics())
    # Of one modality, too, the part is that of its place among those that the delta knows.
    model.modalities = order
    single = evaluate_dataset(str(spectral_world), path, backbone=name, task="image", modalities=["rgb"])
    assert single["metrics"] == pytest.approx(reference(dataset, model, ("rgb",), ("rgb",)).metrics())


@pytest.mark.parametrize(
    ("query", "gallery"), [(("rgb",), NAMES), (("nir", "tir"), ("rgb", "nir")), (("rgb",), ("tir",))]
)
def test_either_side_can_lack_modalities(spectral_world, name, query, gallery):
    result = evaluate_dataset(
        str(spectral_world), backbone=name, query_modalities=query, gallery_modalities=gallery[::-1]
    )
    model = load(backbone=name, modalities=NAMES)
    expected = reference(open_dataset(spectral_world), model, query, gallery)
    assert result["metrics"] == pytest.approx(expected.metrics())
    assert result["modalities"] == {"query": list(query), "gallery": list(gallery)}


def test_both_sides_at_once(spectral_world, name):
    both = evaluate_dataset(str(spectral_world), backbone=name, modalities=["NI", "vis"])
    apart = evaluate_dataset(
        str(spectral_world), backbone=name, query_modalities=["rgb", "nir"], gallery_modalities=["rgb", "nir"]
    )
    assert both == apart
    mixed = evaluate_dataset(str(spectral_world), backbone=name, modalities=["tir"], query_modalities=["rgb"])
    assert mixed["modalities"] == {"query": ["rgb"], "gallery": ["tir"]}


def test_samples_that_have_nothing_of_a_side_are_left_out_and_counted(spectral_world, name, opened):
    dataset = open_dataset(spectral_world)
    bare = [
        replace(record, images=record.images[:1], modalities=("rgb",)) if place % 3 == 0 else record
        for place, record in enumerate(dataset.query)
    ]
    opened(replace(dataset, query=bare, gallery=bare))
    less = len(bare[::3])
    result = evaluate_dataset("any", backbone=name, query_modalities=["tir"])
    assert result["queries"]["total"] == len(bare) - less
    assert result["gallery"]["total"] == len(bare)
    assert result["left_out"] == {"query": less, "gallery": 0}
    kept = [record for record in bare if len(record.images) > 1]
    model = load(backbone=name, modalities=NAMES)
    assert result["metrics"] == pytest.approx(
        reference(replace(dataset, query=kept, gallery=bare), model, ("tir",)).metrics()
    )
    cells = evaluate_dataset("any", backbone=name, matrix=True)["matrix"]
    lost = {(tuple(cell["query"]), tuple(cell["gallery"])): cell["left_out"] for cell in cells}
    assert lost[("tir",), ("rgb",)] == {"query": less, "gallery": 0}
    assert lost[("nir", "tir"), ("tir",)] == {"query": less, "gallery": less}
    assert lost[("rgb", "nir"), NAMES] == {"query": 0, "gallery": 0}


def test_scenes_decide_on_msvr310(name, tmp_path):
    """Its layout: the query lies in the gallery as well, where its whole scene is ignored, whatever the view."""
    generator = torch.Generator().manual_seed(0)
    files = [(split, name) for split in ("query3", "bounding_box_test") for name in ("0019_s012_v0_000.jpg",)]
    files += [("bounding_box_test", f"{name}_000.jpg") for name in ("0019_s012_v4", "0019_s013_v0", "0020_s012_v2")]
    files += [("bounding_box_test", f"00{21 + place}_s01{place}_v1_000.jpg") for place in range(6)]
    for (split, file), modality in product(files, ("vis", "ni", "th")):
        path = tmp_path / split / file[:4] / modality / file
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = torch.randint(0, 256, (16, 32, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(path)
    dataset = open_dataset(tmp_path)
    result = evaluate_dataset(str(tmp_path), backbone=name)
    model = load(backbone=name, modalities=NAMES)
    assert (result["layout"], result["protocol"]) == ("msvr310", "cross-scene")
    assert result["metrics"] == pytest.approx(reference(dataset, model, places="scene").metrics())
    by_view = evaluate_dataset(str(tmp_path), backbone=name, protocol="cross-camera")
    assert by_view["metrics"] == pytest.approx(reference(dataset, model).metrics())
    assert by_view["metrics"] != result["metrics"]
