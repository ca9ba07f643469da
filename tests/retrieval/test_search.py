"""Searching by text, by image and by both, against sums written out."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import reidtune
from reidtune.delta import write_delta
from reidtune.errors import DataError, SettingsError
from reidtune.methods.registry import find_method
from reidtune.model import Model
from reidtune.retrieval.index import FolderIndex
from reidtune.retrieval.search import best, embedding_of, find_folder, search

TEXT = "a man in a red coat"


@pytest.fixture
def model(small_backbone):
    return Model(small_backbone)


def by_hand(model, folder, query):
    """(name, score), best first."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    scores = model.embed_images([folder / name for name in names]) @ query
    pairs = [(name, float(score)) for name, score in zip(names, scores, strict=True)]
    return sorted(pairs, key=lambda pair: -pair[1])


def same(result, expected):
    assert [match.name for match in result.matches] == [name for name, _ in expected]
    assert [match.rank for match in result.matches] == list(range(1, len(expected) + 1))
    assert [match.score for match in result.matches] == pytest.approx([score for _, score in expected], abs=1e-5)


def test_by_text(model, photos):
    expected = by_hand(model, photos, model.embed_texts([TEXT])[0])
    result = search(model, photos, text=TEXT, top=4)
    same(result, expected[:4])
    assert result.weight == 1
    assert all(match.path == photos / match.name for match in result.matches)
    same(search(model, photos, text=TEXT, top=100), expected)


def test_by_image(model, photos, paint, tmp_path):
    query = paint(tmp_path / "query.png", 50)
    result = search(model, photos, image=query, weight=0.9)
    same(result, by_hand(model, photos, model.embed_images([query])[0]))
    assert result.weight == 0


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_by_both(model, photos, paint, tmp_path, weight):
    query = paint(tmp_path / "query.png", 50)
    both = weight * model.embed_texts([TEXT])[0] + (1 - weight) * model.embed_images([query])[0]
    result = search(model, photos, text=TEXT, image=str(query), weight=weight)
    same(result, by_hand(model, photos, F.normalize(both, dim=0)))
    assert result.weight == weight


def test_a_query_image_does_not_find_itself(model, photos, paint):
    query = photos / "deep" / "c.png"
    paint(photos / "copy.png", 2)  # another file of the same pixels
    (photos / "link.png").symlink_to(query)
    result = search(model, photos, image=photos / "deep" / ".." / "deep" / "c.png")
    assert result.matches[0].name == "copy.png"
    assert result.matches[0].score == pytest.approx(1, abs=1e-5)
    assert len(result.matches) == 7
    assert not {"deep/c.png", "link.png"} & {match.name for match in result.matches}


def test_equal_scores_stand_by_name():
    row = F.normalize(torch.randn(1, 65, generator=torch.Generator().manual_seed(0)), dim=1)
    features = row.repeat(37, 1)
    features[20] = -row
    names = [f"{number:02}.png" for number in range(37)]
    index = FolderIndex(Path("nowhere"), names, features)
    matches = best(index, F.normalize(torch.randn(65, generator=torch.Generator().manual_seed(1)), dim=0), 40)
    ordered = [match.name for match in matches]
    rest = [name for name in names if name != "20.png"]
    assert ordered in (["20.png", *rest], [*rest, "20.png"])
    assert len({match.score for match in matches}) == 2


def test_a_second_search_embeds_nothing_but_the_query(model, photos, monkeypatch):
    first = search(model, photos, text=TEXT)
    monkeypatch.setattr(model.backbone, "image", None)
    monkeypatch.setattr(model.tuner, "feature_width", lambda tower: 24)
    assert search(model, photos, text=TEXT).matches == first.matches


def test_json(model, photos, paint, tmp_path):
    query = paint(tmp_path / "query.png", 50)
    printed = search(model, photos, text=TEXT, image=query, weight=0.25, top=2).to_json()
    assert printed["schema"] == 1
    assert printed["query"] == {"text": TEXT, "image": str(query), "weight": 0.25}
    assert [set(row) for row in printed["results"]] == [{"rank", "path", "score"}] * 2
    assert Path(printed["results"][0]["path"]).is_file()
    assert printed["index"]["images"] == printed["index"]["embedded"] == 7
    assert printed["delta"] is None
    assert printed["backbone"]["fingerprint"] == model.backbone.fingerprint["digest"]


def test_a_delta_has_an_index_of_its_own(small_backbone, header_for, photos, tmp_path):
    name = f"local-dir:{small_backbone.architecture.folder}"
    page = find_method("vpt")
    method = page(page.Settings(tokens=2))
    tuner = method.tuner(small_backbone)
    write_delta(tmp_path / "delta.safetensors", tuner.tensors(), header_for(method, small_backbone))
    tuned, plain = reidtune.load(tmp_path / "delta.safetensors", backbone=name), reidtune.load(backbone=name)
    said = []
    results = [reidtune.search(one, photos, text=TEXT, say=said.append) for one in (plain, tuned, plain, tuned)]
    assert [result.index.embedded for result in results] == [7, 7, 0, 0]
    assert results[1].to_json()["delta"]["method"] == "vpt"
    assert sum("trained on images without texts" in sentence for sentence in said) == 2
    unsaved = Model(small_backbone, tuner)
    assert len({embedding_of(one).key for one in (plain, tuned, unsaved)}) == 3


def test_features_that_cannot_be_compared(model, photos, monkeypatch):
    widths = {id(model.backbone.image): 72, id(model.backbone.text): 24}
    monkeypatch.setattr(model.tuner, "feature_width", lambda tower: widths[id(tower)])
    with pytest.raises(SettingsError, match="72 values and its texts 24"):
        search(model, photos, text=TEXT)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({}, "nothing to search for"),
        ({"text": "  "}, "is empty"),
        ({"text": "x", "weight": 1.5}, "weight of the text is 1.5"),
        ({"text": "x", "weight": float("nan")}, "weight of the text is nan"),
        ({"text": "x", "top": 0}, "number of matches is 0"),
    ],
)
def test_queries_that_cannot_be(model, photos, query, sentence):
    with pytest.raises(SettingsError, match=sentence):
        search(model, photos, **query)
    assert not (photos / ".reidtune").exists()


def test_a_query_image_that_cannot_be_read(model, photos, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        search(model, photos, image=tmp_path / "nope.jpg")
    (tmp_path / "cut.png").write_bytes((photos / "a.png").read_bytes()[:60])
    with pytest.raises(DataError, match="damaged"):
        search(model, photos, image=tmp_path / "cut.png")


def test_folders(photos, monkeypatch):
    kinds = []
    monkeypatch.setattr("reidtune.demo.demo_folder", lambda kind: kinds.append(kind) or photos)
    assert find_folder("demo") == find_folder("demo:image") == photos
    assert kinds == ["text", "image"]
    with pytest.raises(SettingsError, match='Did you mean "demo:text"'):
        find_folder("demo:texts")
    with pytest.raises(DataError, match="does not exist"):
        find_folder(photos / "nope")
    with pytest.raises(DataError, match="is a file"):
        find_folder(photos / "a.png")
