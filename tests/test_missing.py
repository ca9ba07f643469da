"""Evaluating multi-modal data, also where only some modalities are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from PIL import Image

import reidtune.evaluation
import reidtune.report.ranked_lists
from reidtune.data import Dataset, ImageFile, Record, open_dataset
from reidtune.delta import write_delta
from reidtune.errors import SettingsError
from reidtune.evaluation import evaluate_dataset
from reidtune.methods.registry import find_method
from reidtune.missing import plan_known
from reidtune.model import load
from reidtune.retrieval.rank import rank
from reidtune.retrieval.shared import SharedGallery
from reidtune.retrieval.subsets import subsets

NAMES = ("rgb", "nir", "tir")


@pytest.fixture
def name(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def delta(small_backbone, header_for, tmp_path):
    """``delta(("nir", "rgb"))``: LoRA that is far from neutral, trained on these modalities; on none: on images. With
    ``each`` every modality has its own."""

    def make(modalities=(), each=False):
        page = find_method("lora")
        method = page(page.Settings(per_modality=each, modalities=modalities if each else ()))
        tuner = method.tuner(small_backbone)
        with torch.no_grad():
            for parameter in tuner.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
        header = header_for(method, small_backbone)
        if modalities:
            header |= {"task": "multimodal", "data": {"modalities": list(modalities)}}
        path = tmp_path / f"{'-'.join(modalities) or 'image'}.safetensors"
        write_delta(path, tuner.tensors(), header)
        return path

    return make


@pytest.fixture
def opened(monkeypatch):
    """Have ``evaluate_dataset`` open this dataset."""

    def use(dataset):
        monkeypatch.setattr(reidtune.evaluation, "open_dataset", lambda source, **options: dataset)
        return dataset

    return use


def reference(dataset, model, query=NAMES, gallery=NAMES, places="camera"):
    """The same from the public functions: samples to features, and their ranking."""

    def features(records, names):
        samples = [
            {name: image.path for name, image in zip(record.modalities, record.images, strict=True) if name in names}
            for record in records
        ]
        return model.embed_samples(samples)

    return rank(
        features(dataset.query, query),
        features(dataset.gallery, gallery),
        query_ids=[record.identity for record in dataset.query],
        gallery_ids=[record.identity for record in dataset.gallery],
        query_cameras=[getattr(record, places) for record in dataset.query],
        gallery_cameras=[getattr(record, places) for record in dataset.gallery],
        protocol=f"cross-{places}",
        pieces=len(model.modalities),
    )


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


def test_the_matrix_is_every_subset_against_every_other(spectral_world, name, delta):
    path, seen = delta(NAMES), []
    result = evaluate_dataset(
        str(spectral_world), path, backbone=name, matrix=True, progress=lambda *count: seen.append(count)
    )
    pairs = [(cell["query"], cell["gallery"]) for cell in result["matrix"]]
    assert pairs == [(list(one), list(other)) for one, other in product(subsets(NAMES), subsets(NAMES))]
    samples = result["queries"]["total"]
    assert seen[-1] == (7 * samples, 7 * samples)  # each subset once, for both sides
    assert result["matrix"][-1]["metrics"] == result["metrics"]
    for place in (0, 5, 17, 40):
        cell = result["matrix"][place]
        alone = evaluate_dataset(
            str(spectral_world),
            path,
            backbone=name,
            query_modalities=cell["query"],
            gallery_modalities=cell["gallery"],
        )
        assert cell["metrics"] == pytest.approx(alone["metrics"])
        assert cell["queries"] == {"total": samples, "skipped": 0}
    assert result["metrics"] == evaluate_dataset(str(spectral_world), path, backbone=name)["metrics"]


def test_a_matrix_of_some_modalities(spectral_world, name):
    result = evaluate_dataset(
        str(spectral_world), backbone=name, matrix=True, modalities=["rgb", "tir"], gallery_modalities=["tir"]
    )
    assert [cell["query"] for cell in result["matrix"]] == [["rgb"], ["tir"], ["rgb", "tir"]]
    assert {tuple(cell["gallery"]) for cell in result["matrix"]} == {("tir",)}


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


def test_a_cell_without_anything_to_score_has_no_metrics(spectral_world, name, opened):
    """Thermal images are of another camera than the query's for nobody."""
    dataset = open_dataset(spectral_world)
    first = {record.identity: record.camera for record in reversed(dataset.gallery)}
    gallery = [
        record
        if record.camera == first[record.identity]
        else replace(record, images=record.images[:2], modalities=NAMES[:2])
        for record in dataset.gallery
    ]
    query = [record for record in gallery if record.camera == first[record.identity]]
    opened(replace(dataset, query=query, gallery=gallery))
    result = evaluate_dataset("any", backbone=name, matrix=True)
    for cell in result["matrix"]:
        if cell["gallery"] == ["tir"]:
            assert cell["metrics"] is None
            assert cell["queries"] == {"total": len(query), "skipped": len(query)}
        else:
            assert 0 < cell["metrics"]["mAP"] <= 1


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


def test_a_sheet_shows_every_modality_that_a_side_has(spectral_world, name, tmp_path):
    path = str(spectral_world)
    evaluate_dataset(path, backbone=name, sheet=tmp_path / "all.png")
    evaluate_dataset(
        path, backbone=name, sheet=tmp_path / "two.png", query_modalities=["rgb"], gallery_modalities=["nir"]
    )
    evaluate_dataset(path, backbone=name, sheet=tmp_path / "one.png", task="image")
    everything, two, one = (Image.open(tmp_path / f"{kind}.png") for kind in ("all", "two", "one"))
    assert everything.height - two.height == 3 * (96 + 2)
    assert one.height < 6 * (128 + 40)
    empty = sum(count for count, colour in two.getcolors(1 << 24) if colour == (238, 238, 238))
    assert empty > 20 * 96 * 40


def test_a_sheet_shows_what_was_ranked_first(spectral_world, name, opened, tmp_path, monkeypatch):
    """Also of leave-one-out without some queries, and where gallery samples lack different modalities."""
    dataset = open_dataset(spectral_world, protocol="leave-one-out")
    records = [
        record
        if place % 3
        else replace(record, images=record.images[place % 2 :][:1], modalities=NAMES[place % 2 :][:1])
        for place, record in enumerate(dataset.query)
    ]
    opened(replace(dataset, query=records, gallery=records))
    drawn = []

    def capture(rows, modalities):
        drawn.extend(rows)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr(reidtune.report.ranked_lists, "ranked_sheet", capture)
    result = evaluate_dataset("any", backbone=name, query_modalities=["nir"], sheet=tmp_path / "a.png")
    assert result["left_out"]["query"] > 0
    model = load(backbone=name, modalities=NAMES)

    def features(samples):
        return model.embed_samples(
            [{key: file.path for key, file in zip(one.modalities, one.images, strict=True)} for one in samples]
        )

    assert len(drawn) == 3
    for row in drawn:
        (own,) = (record for record in records if row.query.path in [image.path for image in record.images])
        scores = SharedGallery(features(records), 3).scores(features([row.query]))[0]
        order = [records[place] for place in scores.sort(descending=True, stable=True).indices.tolist()]
        best = [record for record in order if record is not own][:10]
        assert [one.path for one in row.results] == [one.path for one in best]
