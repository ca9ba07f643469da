"""Searching samples of several modalities by a triplet or any part of it, against sums written out."""

import json
import math
from itertools import combinations

import pytest
import torch
from PIL import Image

import reidtune
from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.query import query_feature, query_images
from reidtune.retrieval.search import embedding_of, search

NAMES = ("rgb", "nir", "tir")
FOLDERS = {"rgb": "RGB", "nir": "NI", "tir": "TI"}
TEXT = "a man in a red coat"


@pytest.fixture
def backbone(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def model(multimodal_delta, backbone):
    return reidtune.load(multimodal_delta(), backbone=backbone)


@pytest.fixture
def triplets(tmp_path, paint):
    """Eight samples, of which some lack a modality and one is of nir alone."""
    folder = tmp_path / "triplets"
    for number in range(8):
        for place, name in enumerate(NAMES):
            if (number, name) not in {(2, "nir"), (3, "rgb"), (5, "rgb"), (5, "tir")}:
                paint(folder / FOLDERS[name] / f"{number}.png", 10 * number + place)
    return folder


@pytest.fixture
def query(tmp_path, paint):
    return {name: paint(tmp_path / "query" / f"{name}.png", 100 + place) for place, name in enumerate(NAMES)}


def there(triplets, number):
    paths = {name: triplets / FOLDERS[name] / f"{number}.png" for name in NAMES}
    return {name: path for name, path in paths.items() if path.exists()}


def parts(feature):
    return {name: feature[24 * place : 24 * place + 24].tolist() for place, name in enumerate(NAMES)}


def unit(values):
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def dot(one, other):
    return sum(x * y for x, y in zip(one, other, strict=True))


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def minus(one, other):
    return [x - y for x, y in zip(one, other, strict=True)]


def by_hand(model, triplets, feature, known):
    """(name, score), best first: the mean cosine of what the query has, with the folder's mean in the place of what a
    sample lacks; with nothing in common the product of the mean deviations on top."""
    mine = {name: unit(parts(feature)[name]) for name in known}
    folder = []
    for number in range(8):
        sample = there(triplets, number)
        other = parts(model.embed_samples([sample])[0])
        folder.append({name: unit(other[name]) for name in sample})
    means = {name: mean([one[name] for one in folder if name in one]) for name in NAMES}
    scores = {}
    for number, other in enumerate(folder):
        score = sum(dot(mine[name], other.get(name, means[name])) for name in known) / len(known)
        if not set(known) & set(other):
            sides = (mean([minus(side[name], means[name]) for name in side]) for side in (mine, other))
            score += dot(*sides)
        scores[f"{number}.png"] = score
    return sorted(scores.items(), key=lambda pair: -pair[1])


def same(result, expected):
    assert [match.name for match in result.matches] == [name for name, _ in expected]
    assert [match.rank for match in result.matches] == list(range(1, len(expected) + 1))
    assert [match.score for match in result.matches] == pytest.approx([score for _, score in expected], abs=1e-5)


@pytest.mark.parametrize("known", [names for count in (1, 2, 3) for names in combinations(NAMES, count)])
def test_any_part_of_a_triplet_is_a_query(model, triplets, query, known):
    given = {name: query[name] for name in reversed(known)}
    result = search(model, triplets, image=given)
    same(result, by_hand(model, triplets, model.embed_samples([given])[0], known))
    assert (list(result.images), result.image, result.weight) == (list(known), query[known[0]], 0)
    for match in result.matches:
        assert match.paths == there(triplets, match.name[0])
        assert match.path == next(iter(match.paths.values()))


def test_a_query_without_a_name_is_the_first_modality(model, triplets, query):
    said = []
    result = search(model, triplets, image=query["nir"], say=said.append)
    assert result.matches == search(model, triplets, image={"rgb": query["nir"]}).matches
    assert said[0] == "The query's image counts as rgb; --image NAME=FILE says another."


def test_a_text_stands_in_the_place_of_every_modality(model, triplets):
    text = model.embed_texts([TEXT])[0]
    result = search(model, triplets, text=TEXT)
    same(result, by_hand(model, triplets, text.repeat(3), NAMES))
    assert (result.image, result.images, result.weight) == (None, {}, 1)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_text_stands_beside_the_images_that_are_there(model, triplets, query, weight):
    given = {name: query[name] for name in ("rgb", "tir")}
    text = model.embed_texts([TEXT])[0] / math.sqrt(2)
    both = weight * torch.cat([text, torch.zeros(24), text]) + (1 - weight) * model.embed_samples([given])[0]
    result = search(model, triplets, image=given, text=TEXT, weight=weight)
    same(result, by_hand(model, triplets, both, ("rgb", "tir")))
    feature = query_feature(model, TEXT, query_images(model, given), weight)
    assert feature.norm() == pytest.approx(1, abs=1e-5)
    assert not feature[24:48].any()


def test_a_sample_that_holds_a_file_of_the_query_is_not_among_its_matches(model, triplets, query):
    result = search(model, triplets, image={"rgb": query["rgb"], "tir": triplets / "TI" / ".." / "TI" / "4.png"})
    assert {match.name for match in result.matches} == {f"{number}.png" for number in range(8) if number != 4}


def test_a_folder_of_one_modality(model, triplets, query):
    for folder in ("NI", "TI"):
        result = search(model, triplets / folder, image={"rgb": query["rgb"]}, modality="nir")
        assert all(list(match.paths) == ["nir"] for match in result.matches)
    one = search(model, triplets / "TI", image={"tir": query["tir"]})
    assert {name for match in one.matches for name in match.paths} == {"tir"}
    assert one.index.embedded == 7  # not the index in which they were nir


def test_a_second_search_embeds_nothing_but_the_query(model, triplets, query):
    first = search(model, triplets, image=query)
    again = search(model, triplets, image=query)
    assert (first.index.embedded, again.index.embedded) == (8, 0)
    assert again.matches == first.matches


def test_modalities_have_an_index_of_their_own(model, triplets, backbone):
    path = model.path
    plain = reidtune.load(backbone=backbone)
    two, other = (reidtune.load(backbone=backbone, modalities=names) for names in (("rgb", "nir"), ("nir", "rgb")))
    keys = {embedding_of(one).key for one in (model, plain, two, other)} | {embedding_of(model, "NI").key}
    assert len(keys) == 5
    assert embedding_of(model, "NI").key == embedding_of(reidtune.load(path, backbone=backbone), "nir").key


def test_parts_for_each_modality_are_used(multimodal_delta, backbone, triplets, query):
    model = reidtune.load(multimodal_delta("lora", per_modality=True), backbone=backbone)
    same(search(model, triplets, image=query), by_hand(model, triplets, model.embed_samples([query])[0], NAMES))
    rgb, nir = (model.embed_samples([{name: query["rgb"]}])[0] for name in ("rgb", "nir"))
    assert not torch.allclose(rgb[:24], nir[24:48], atol=1e-3)


def test_json(model, triplets, query):
    (triplets / "RGB" / "0.png").write_bytes(b"")
    result = search(model, triplets, image={"tir": query["tir"], "rgb": query["rgb"]}, top=2)
    printed = json.loads(json.dumps(result.to_json()))
    assert printed["query"] == {
        "text": None,
        "image": str(query["rgb"]),
        "images": {"rgb": str(query["rgb"]), "tir": str(query["tir"])},
        "weight": 0.0,
    }
    assert printed["modalities"] == list(NAMES)
    for row, match in zip(printed["results"], result.matches, strict=True):
        assert set(row) == {"rank", "path", "score", "paths"}
        assert row["paths"] == {name: str(path) for name, path in match.paths.items()}
        assert row["path"] == next(iter(row["paths"].values()))
    index = printed["index"]
    assert (index["samples"], index["images"], index["unreadable"], index["embedded"]) == (8, 19, 1, 8)
    assert printed["delta"]["method"] == "lora"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image": {"rgbb": "rgb"}}, 'knows no modality "rgbb". Did you mean "rgb"?'),
        ({"image": {"rgb": "rgb", "VIS": "nir"}}, "two images of the modality rgb"),
        ({"image": {"": "rgb", "rgb": "nir"}}, "two images of the modality rgb"),
        ({"image": {}}, "nothing to search for"),
        ({"text": TEXT, "modality": "depth"}, 'knows no modality "depth"'),
    ],
)
def test_queries_that_cannot_be(model, triplets, query, options, sentence):
    if "image" in options:
        options = {**options, "image": {name: query[path] for name, path in options["image"].items()}}
    with pytest.raises(SettingsError) as error:
        search(model, triplets, **options)
    assert sentence in error.value.message
    assert not (triplets / ".reidtune").exists()


def test_files_that_cannot_be_read(model, triplets, query, tmp_path, backbone):
    with pytest.raises(DataError, match=r"nope\.jpg"):
        search(model, triplets, image={**query, "nir": tmp_path / "nope.jpg"})
    sketches = reidtune.load(backbone=backbone, modalities="sketch")
    with pytest.raises(DataError, match="of the modalities rgb, nir, tir, and the model knows only sketch"):
        search(sketches, triplets, text=TEXT)


def test_a_model_of_single_images_takes_no_names(backbone, triplets, query):
    model = reidtune.load(backbone=backbone)
    with pytest.raises(SettingsError, match="named rgb, but this model has no modalities"):
        search(model, triplets, image={"rgb": query["rgb"]})
    with pytest.raises(SettingsError, match="no modalities, so none is nir"):
        search(model, triplets, text=TEXT, modality="nir")


def test_texts_of_another_width(model, triplets, query, monkeypatch):
    widths = {id(model.backbone.image): 48, id(model.backbone.text): 24}
    monkeypatch.setattr(model.tuner, "feature_width", lambda tower: widths[id(tower)])
    with pytest.raises(SettingsError, match="48 values and its texts 24"):
        search(model, triplets, text=TEXT, image=query)


def test_large_folders_are_scored_in_pieces(model, triplets, query, monkeypatch):
    for number in (2, 3, 5):
        for path in there(triplets, number).values():
            path.unlink()
    whole = search(model, triplets, image=query)
    monkeypatch.setattr("reidtune.retrieval.search._ROWS", 6)  # two samples at once
    assert search(model, triplets, image=query).matches == whole.matches
    assert len(whole.matches) == 5


def test_strips_are_refused_and_names_that_do_not_meet_are_said(model, tmp_path, query, paint):
    folder = tmp_path / "strips"
    folder.mkdir()
    Image.new("RGB", (768, 128)).save(folder / "0001_c0001_001.png")
    with pytest.raises(DataError, match="a strip of 768 × 128 pixels, as RGBNT100"):
        search(model, folder, image=query)
    for name in ("vis", "ni"):
        paint(tmp_path / "apart" / name / f"{name}_7.png", 3)
        paint(tmp_path / "apart" / name / f"{name}x.png", 4)
    said = []
    search(model, tmp_path / "apart", image=query, say=said.append)
    assert any("No sample has two modalities" in sentence for sentence in said)
