"""Evaluating from Python: what the result says, and that files are written whole or not at all."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

import reidtune.evaluation
from reidtune.data import Dataset, ImageFile, Record, open_dataset
from reidtune.delta import read_header, write_delta
from reidtune.errors import DataError, SettingsError
from reidtune.evaluation import evaluate_dataset, result_beside
from reidtune.methods.registry import find_method
from reidtune.model import load
from reidtune.retrieval.rank import rank


@pytest.fixture
def name(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def delta(small_backbone, header_for, tmp_path):
    """A delta of LoRA that is far from neutral."""
    page = find_method("lora")
    method = page(page.Settings())
    tuner = method.tuner(small_backbone)
    with torch.no_grad():
        for parameter in tuner.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    write_delta(tmp_path / "d.safetensors", tuner.tensors(), header_for(method, small_backbone))
    return tmp_path / "d.safetensors"


def test_the_result_says_data_backbone_delta_and_progress(small_world, delta, name):
    seen, said = [], []
    result = evaluate_dataset(
        str(small_world), delta, backbone=name, say=said.append, progress=lambda *count: seen.append(count)
    )
    header = read_header(delta)
    assert result["delta"] == {
        "path": str(delta),
        "method": "lora",
        "digest": header.digest,
        "parameters": header.parameters,
    }
    assert result["backbone"]["fingerprint"] == header.backbone["fingerprint"]["digest"]
    assert result["data"]["hash"] == open_dataset(small_world).manifest()["hash"]
    assert result["skipped_examples"] == []
    assert seen == [(64, 86), (86, 86)]  # 17 queries and 69 gallery images, 64 at a time
    assert [sentence.split(":")[0] for sentence in said] == ["Market-1501 names"]


def test_untuned_is_the_backbone_alone(small_world, delta, name):
    untuned = evaluate_dataset(str(small_world), delta, backbone=name, untuned=True)
    alone = evaluate_dataset(str(small_world), backbone=name)
    tuned = evaluate_dataset(str(small_world), delta, backbone=name)
    assert untuned == alone
    assert tuned["metrics"] != alone["metrics"]


def test_a_protocol_changes_what_is_ignored(small_world, name):
    market = evaluate_dataset(str(small_world), backbone=name)
    everything = evaluate_dataset(str(small_world), backbone=name, protocol="all")
    assert (market["protocol"], everything["protocol"]) == ("cross-camera", "all")
    # With the query's own camera in the gallery the nearest image is easier to find.
    assert everything["metrics"]["rank-1"] > market["metrics"]["rank-1"]


def test_settings_are_said_before_the_data_is_read(small_world, delta, name):
    missing = str(small_world / "nowhere")
    for wrong in ({"device": "gpu"}, {"image_size": "12"}, {"delta": delta, "image_size": "32x16"}):
        with pytest.raises(SettingsError):
            evaluate_dataset(missing, backbone=name, **wrong)
    with pytest.raises(DataError):
        evaluate_dataset(missing, backbone=name)


def test_the_file_beside_a_delta(delta, tmp_path):
    assert result_beside(delta) == tmp_path / "d.evaluate.json"
    run = tmp_path / "run"
    run.mkdir()
    delta.rename(run / "delta.safetensors")
    (run / "recipe.toml").write_text("")
    assert result_beside(run) == run / "evaluate.json"
    with pytest.raises(SettingsError, match="no delta"):
        result_beside(tmp_path)


def test_a_sheet_has_a_row_a_query(small_world, name, tmp_path):
    evaluate_dataset(str(small_world), backbone=name, sheet=tmp_path / "lists.png")
    picture = Image.open(tmp_path / "lists.png")
    assert picture.height > 6 * 128
    assert len(picture.getcolors(maxcolors=1 << 24)) > 1000


@pytest.fixture
def captioned(tmp_path, monkeypatch):
    """Text data of eight images of three people and one whom no caption finds; the source ``captioned``."""
    folder, records = tmp_path / "captioned", []
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for place, identity in enumerate([1, 1, 1, 2, 2, 3, 3, 4]):
        path = folder / f"{place}.png"
        red, green, blue = torch.randint(0, 256, (3,), generator=generator).tolist()
        Image.new("RGB", (8, 16), (red, green, blue)).save(path)
        captions = () if identity == 4 else (f"person {identity}", f"a walker of number {place}")
        records.append(Record((ImageFile(path),), identity, captions=captions))
    dataset = Dataset(folder, "table", "text", "cross-modality", (), records, records, "Eight images.")
    monkeypatch.setattr(reidtune.evaluation, "open_dataset", lambda source, **options: dataset)
    return dataset


def reference(captioned, model, query):
    """The same from the public functions: features of files and texts, and their ranking."""
    images = model.embed_images([record.path for record in captioned.gallery])
    pairs = [(record.identity, caption) for record in captioned.gallery for caption in record.captions]
    texts, ids = model.embed_texts([caption for _, caption in pairs]), [identity for identity, _ in pairs]
    image_ids = [record.identity for record in captioned.gallery]
    if query == "text":
        return rank(texts, images, query_ids=ids, gallery_ids=image_ids, protocol="all")
    return rank(images, texts, query_ids=image_ids, gallery_ids=ids, protocol="all")


@pytest.mark.parametrize("tuned", [False, True])
def test_text_data_is_ranked_in_both_directions(captioned, name, delta, tuned):
    """A delta of image data serves as well: its texts are the backbone's."""
    seen = []
    path = delta if tuned else None
    result = evaluate_dataset("any", path, backbone=name, batch_size=5, progress=lambda *count: seen.append(count))
    model = load(path, backbone=name)
    forward, backward = reference(captioned, model, "text"), reference(captioned, model, "image")
    assert (result["task"], result["protocol"]) == ("text", "cross-modality")
    assert result["metrics"] == pytest.approx(forward.metrics())
    assert result["queries"] == {"total": 14, "skipped": 0}
    assert result["gallery"] == {"total": 8, "ignored": 0}
    back = result["image_to_text"]
    assert back["metrics"] == pytest.approx(backward.metrics())
    assert back["queries"] == {"total": 8, "skipped": 1}  # the person without a caption
    assert back["gallery"] == {"total": 14, "ignored": 0}
    assert result["metrics"] != back["metrics"]
    assert seen[-1] == (18, 18)  # eight images and ten different captions
    assert result["data"]["hash"] == captioned.manifest()["hash"]


def test_the_images_of_text_data_alone(captioned, name):
    result = evaluate_dataset("any", backbone=name, task="image")
    images = load(backbone=name).embed_images([record.path for record in captioned.gallery])
    ids = [record.identity for record in captioned.gallery]
    expected = rank(images, images, query_ids=ids, gallery_ids=ids, protocol="leave-one-out")
    assert (result["task"], result["protocol"]) == ("image", "leave-one-out")
    assert result["metrics"] == pytest.approx(expected.metrics())
    assert result["queries"] == {"total": 8, "skipped": 1}
    assert "image_to_text" not in result


def test_a_task_that_the_data_is_not_for_is_refused(captioned, small_world, name, monkeypatch):
    with pytest.raises(SettingsError, match='Unknown task "texts". Did you mean "text"'):
        evaluate_dataset("any", backbone=name, task="texts")
    assert evaluate_dataset("any", backbone=name, task="text")["task"] == "text"
    for task, wanted, sentence in (
        ("image", "text", "--task text cannot be evaluated on image data"),
        ("text", "multimodal", "--task multimodal cannot be evaluated on text data"),
        ("image", "multimodal", "--task multimodal cannot be evaluated on image data"),
    ):
        monkeypatch.setattr(reidtune.evaluation, "open_dataset", lambda *_, t=task, **__: replace(captioned, task=t))
        with pytest.raises(SettingsError, match=sentence):
            evaluate_dataset("any", backbone=name, task=wanted)


def test_text_data_without_captions_is_refused(captioned, name, monkeypatch):
    bare = [replace(record, captions=()) for record in captioned.query]
    monkeypatch.setattr(
        reidtune.evaluation, "open_dataset", lambda *_, **__: replace(captioned, query=bare, gallery=bare)
    )
    with pytest.raises(DataError, match="No test image of .*captioned has a caption"):
        evaluate_dataset("any", backbone=name)


def test_a_sheet_of_captions(captioned, name, tmp_path):
    evaluate_dataset("any", backbone=name, sheet=tmp_path / "captions.png")
    evaluate_dataset("any", backbone=name, task="image", sheet=tmp_path / "images.png")
    captions, images = (Image.open(tmp_path / f"{kind}.png") for kind in ("captions", "images"))
    assert captions.height == images.height
    assert captions.width > images.width + 64  # a field for the words, and all eight images behind it


def test_a_random_gallery_is_ranked_ten_times_and_the_first_is_drawn(small_world, name, tmp_path):
    result = evaluate_dataset(str(small_world), backbone=name, protocol="random-gallery", sheet=tmp_path / "lists.png")
    dataset = open_dataset(small_world, protocol="random-gallery")
    assert dataset.gallery is dataset.query or any(record.identity == 0 for record in dataset.gallery)
    people = {record.identity for record in dataset.query}
    assert (result["protocol"], result["draws"]) == ("random-gallery", 10)
    assert result["queries"] == {"total": len(dataset.query) - len(people), "skipped": 0}
    assert result["gallery"]["total"] == len(people) + len(dataset.gallery) - len(dataset.query)
    assert result["deviation"]["rank-1"] > 0
    assert set(result["deviation"]) == set(result["metrics"])
    assert Image.open(tmp_path / "lists.png").height > 6 * 128
