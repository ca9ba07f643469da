from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import reidtune.demo
from reidtune.data import Dataset, ImageFile, Record, open_dataset, require_split
from reidtune.errors import DataError, SettingsError

from .conftest import record


def test_what_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere") as error:
        open_dataset(tmp_path / "nowhere")
    assert error.value.exit_code == 4
    with pytest.raises(DataError, match=r'"dmeo".* Did you mean "demo"'):
        open_dataset("dmeo")


def test_an_empty_folder_and_a_file_that_is_no_table(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        open_dataset(tmp_path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(DataError, match=r"photo\.jpg.*must be a table"):
        open_dataset(tmp_path / "photo.jpg")


def test_the_word_demo_is_the_demo_world_and_a_path_is_not(put, monkeypatch):
    root = put("world/a/1.png", "world/b/1.png", "demo/c/1.png", "demo/d/1.png", "demo/e/1.png")
    asked = []
    monkeypatch.setattr(reidtune.demo, "demo_folder", lambda kind: asked.append(kind) or root / "world", raising=False)
    monkeypatch.chdir(root)
    for word in ("demo", "demo:text", "demo:multimodal"):
        assert len(open_dataset(word).query) == 2
    assert asked == ["image", "text", "multimodal"]
    for path in (Path("demo"), "./demo"):
        assert len(open_dataset(path).query) == 3
    assert len(asked) == 3
    with pytest.raises(SettingsError, match=r'"demo:txt".*Did you mean "demo:text"'):
        open_dataset("demo:txt")


def test_a_folder_that_may_not_be_read_is_an_error_of_the_data(put, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        open_dataset(put("a/1.png"))


def test_manifest_does_not_depend_on_where_the_data_lies(put, tmp_path):
    root = put("one/train/a/1.png", "one/train/b/1.png")
    before = open_dataset(root / "one").manifest()
    (root / "one").rename(root / "two")
    assert open_dataset(root / "two").manifest() == before
    (root / "two" / "train" / "a" / "1.png").rename(root / "two" / "train" / "b" / "2.png")
    put("two/train/a/2.png")
    assert open_dataset(root / "two").manifest()["hash"] != before["hash"]


def test_the_hash_of_image_data_is_what_it_was_before_there_was_validation():
    records = {name: [record(number, 2, f"{name}.png")] for number, name in enumerate(("train", "query", "gallery"), 1)}
    lines = "".join(f"{name}\t{name}.png\t{number}\t2\tNone\n" for number, name in enumerate(records, 1))
    dataset = Dataset(Path(), "x", "image", "all", *records.values(), "X.")
    assert dataset.manifest()["hash"] == hashlib.sha256(lines.encode()).hexdigest()
    assert set(dataset.manifest()) == {"layout", "task", "hash", "train", "query", "gallery"}
    more = replace(dataset, validation=records["train"]).manifest()
    assert more["hash"] != dataset.manifest()["hash"]
    assert more["val"] == {"images": 1, "identities": 1, "cameras": 1}


def multimodal(*modalities, **changes):
    kept = [(m, ImageFile(Path(f"{m}/1.png"))) for m in ("rgb", "nir", "tir") if m in modalities]
    images, names = tuple(file for _, file in kept), tuple(m for m, _ in kept)
    records = [Record(images, 1, 2, modalities=tuple(changes.get(m, m) for m in names)), Record(images[:1], 2, 1)]
    facts = (Path(), "x", "multimodal", "all", records, records, records, "X.")
    return Dataset(*facts, modalities=tuple(changes.get(m, m) for m in modalities))


def test_the_hash_of_multimodal_data_knows_its_modalities():
    manifest = multimodal("rgb", "nir", "tir").manifest()
    assert manifest["modalities"] == ["rgb", "nir", "tir"]
    assert manifest["train"] == {"images": 2, "identities": 2, "cameras": 2}
    others = [multimodal("rgb", "nir"), multimodal("rgb", "nir", "tir", tir="depth")]
    single = replace(multimodal("rgb", "nir", "tir"), modalities=())
    assert len({data.manifest()["hash"] for data in (multimodal("rgb", "nir", "tir"), *others, single)}) == 4
    assert "modalities" not in single.manifest()


def test_a_split_that_is_needed_and_missing_is_told(put):
    trained = open_dataset(put("x/train/a/1.png", "x/train/b/1.png") / "x")
    require_split(trained, "train")
    with pytest.raises(DataError, match="no test split"):
        require_split(trained, "test")
    tested = open_dataset(put("y/test/a/1.png", "y/test/b/1.png", "y/train/a/2.png") / "y")
    require_split(tested, "test")
    with pytest.raises(DataError, match="no training split of two"):
        require_split(tested, "train")


def test_opening_a_dataset_needs_neither_torch_nor_pillow():
    code = "import sys, reidtune.data; sys.exit(any(m in sys.modules for m in ('torch', 'PIL', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_everything_that_is_promised_can_be_imported():
    import reidtune.data

    assert all(getattr(reidtune.data, name) is not None for name in reidtune.data.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = reidtune.data.nothing
