import hashlib
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from reidtune.demo.shots import take
from reidtune.demo.world import render_world
from reidtune.errors import SettingsError

IDENTITIES = 6  # of the fixture
MARKET = re.compile(r"^([-\d]+)_c(\d)s(\d)_(\d{6})_(\d\d)\.jpg$")
RGBNT = re.compile(r"^(\d{6})_cam(\d)_(\d+)_(\d+)\.jpg$")


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def test_the_same_seed_gives_the_same_bytes(small_world, tmp_path):
    render_world(tmp_path / "again", seed=3, identities=IDENTITIES)
    assert digest(tmp_path / "again") == digest(small_world)


def test_a_kind_alone_is_what_it_is_among_others_and_another_seed_differs(small_world, tmp_path):
    render_world(tmp_path / "one", seed=3, identities=IDENTITIES, kinds=("text",))
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["text"]
    assert digest(tmp_path / "one" / "text") == digest(small_world / "text")
    render_world(tmp_path / "other", seed=4, identities=IDENTITIES, kinds=("text",))
    assert digest(tmp_path / "other" / "text") != digest(small_world / "text")


def test_another_camera_set_shows_the_same_people_elsewhere(small_world, tmp_path):
    render_world(tmp_path, seed=3, identities=IDENTITIES, kinds=("image",), camera_set=1)
    names = sorted(path.name for path in (tmp_path / "image" / "query").iterdir())
    assert {name[:7] for name in names} == {path.name[:7] for path in (small_world / "image" / "query").iterdir()}
    assert digest(tmp_path / "image" / "query") != digest(small_world / "image" / "query")


def test_market_layout(small_world):
    found = {}
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        names = [path.name for path in (small_world / "image" / folder).iterdir()]
        matches = [MARKET.match(name) for name in names]
        assert all(matches), names
        found[folder] = [(int(m[1]), int(m[2])) for m in matches]
    train, query, gallery = found["bounding_box_train"], found["query"], found["bounding_box_test"]
    assert {identity for identity, _ in train} == {1, 2, 3, 4}
    assert {identity for identity, _ in query} == {5, 6}
    assert {identity for identity, _ in gallery} == {-1, 0, 5, 6}
    assert {camera for part in found.values() for _, camera in part} <= set(range(1, 7))
    assert len(query) == len(set(query)), "one query of an identity and a camera"
    for identity, camera in query:  # the cross-camera rule leaves something to find
        assert any(other == identity and seen != camera for other, seen in gallery)
    counts = [sum(identity == one for identity, _ in train) for one in (1, 2, 3, 4)]
    assert min(counts) >= 9 and max(counts) <= 16


def test_images_are_portraits_of_varied_size(small_world):
    sizes = set()
    for path in (small_world / "image" / "bounding_box_train").iterdir():
        with Image.open(path) as image:
            assert image.mode == "RGB" and image.format == "JPEG"
            sizes.add(image.size)
    assert len(sizes) > 5
    assert all(45 <= width <= 85 and 1.6 < height / width < 2.5 for width, height in sizes)


def test_cuhk_pedes_layout(small_world):
    entries = json.loads((small_world / "text" / "reid_raw.json").read_text())
    assert len(entries) == 4 * IDENTITIES
    files = {
        path.relative_to(small_world / "text" / "imgs").as_posix() for path in small_world.glob("text/imgs/*/*.jpg")
    }
    assert {entry["file_path"] for entry in entries} == files
    ids = {split: {e["id"] for e in entries if e["split"] == split} for split in ("train", "val", "test")}
    assert ids == {"train": {1, 2, 3}, "val": {4}, "test": {5, 6}}
    for entry in entries:
        assert set(entry) == {"split", "captions", "file_path", "processed_tokens", "id"}
        assert len(entry["captions"]) == len(entry["processed_tokens"]) == 2
        assert entry["captions"][0] != entry["captions"][1]
        assert "".join(entry["processed_tokens"][0]) == re.sub("[^a-z0-9]", "", entry["captions"][0].lower())


def test_rgbnt201_layout(small_world):
    for split, identities, cameras in (("train_171", {1, 2, 3, 4}, {1, 2, 3, 4}), ("test", {5, 6}, {1, 2})):
        folders = [
            sorted(path.name for path in (small_world / "multimodal" / split / spectrum).iterdir())
            for spectrum in ("RGB", "NI", "TI")
        ]
        assert folders[0] == folders[1] == folders[2]
        matches = [RGBNT.match(name) for name in folders[0]]
        assert {int(m[1]) for m in matches} == identities
        assert {int(m[2]) for m in matches} == cameras


def test_progress_counts_people_over_all_kinds(tmp_path):
    seen = []
    render_world(
        tmp_path, identities=4, kinds=("text", "image"), progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (8, 8)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    taken = []

    def interrupted(*args, **kwargs):
        taken.append(1)
        if len(taken) > 3:
            raise KeyboardInterrupt
        return take(*args, **kwargs)

    monkeypatch.setattr("reidtune.demo.world.take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render_world(tmp_path, identities=4, kinds=("text",))
    assert len(taken) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kinds": ("images",)}, 'Did you mean "image"'),
        ({"identities": 3}, "too few"),
        ({"seed": -1}, "negative"),
    ],
)
def test_what_cannot_be_rendered_is_refused(tmp_path, settings, words):
    with pytest.raises(SettingsError, match=words):
        render_world(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "image").mkdir()
    with pytest.raises(SettingsError, match="exists already"):
        render_world(tmp_path, identities=4)
    assert [path.name for path in tmp_path.iterdir()] == ["image"]
