"""Listing the images of any folder."""

import os

import pytest

from reidtune.errors import DataError
from reidtune.retrieval import files
from reidtune.retrieval.files import MISSING, list_images


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a/c.PNG", "a/d/ü 人.jpeg", "notes.txt", ".hidden.jpg", ".reidtune/x.png", "a/._d.jpg"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    return tmp_path / "data"


def test_images_of_all_folders_by_name_without_hidden_ones(folder):
    found = list_images(folder)
    assert list(found.files) == ["a/c.PNG", "a/d/ü 人.jpeg", "b.jpg"]
    status = (folder / "b.jpg").stat()
    assert found.files["b.jpg"] == (5, status.st_mtime_ns, status.st_ctime_ns)
    assert found.closed == []


def test_links_are_followed_once_and_circles_end(folder):
    (folder / "0").symlink_to(folder / "a")  # sorts before the folder itself, which wins all the same
    (folder / "a" / "up").symlink_to(folder)
    (folder / "self.jpg").symlink_to(folder / "self.jpg")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "link.jpg").symlink_to(folder / "b.jpg")
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "o.jpg").write_bytes(b"1")
    (folder / "z").symlink_to(outside)
    found = list_images(folder).files
    assert list(found) == ["a/c.PNG", "a/d/ü 人.jpeg", "b.jpg", "gone.jpg", "link.jpg", "self.jpg", "z/o.jpg"]
    assert found["gone.jpg"] == found["self.jpg"] == MISSING


def test_pipes_and_folders_are_no_images(folder):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "album.jpg").mkdir()
    (folder / "album.jpg" / "e.jpg").write_bytes(b"1")
    found = list_images(folder).files
    assert "pipe.jpg" not in found
    assert "album.jpg/e.jpg" in found


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).rstrip("/").endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(files.os, "scandir", refuse)
    found = list_images(folder)
    assert (list(found.files), found.closed) == (["b.jpg"], ["a"])


def test_no_folder(folder):
    with pytest.raises(DataError, match="There is no folder"):
        list_images(folder / "nope")
    with pytest.raises(DataError, match="is a file, not a folder"):
        list_images(folder / "b.jpg")
