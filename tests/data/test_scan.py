from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from reidtune.data import open_dataset, scan
from reidtune.data.scan import Skipped, has_images, images_below, images_in, show, subfolders
from reidtune.errors import DataError


def test_images_are_listed_by_name_and_the_rest_is_counted(put):
    root = put("b.JPG", "a.png", "deep/c.webp", ".hidden.png")
    (root / "Thumbs.db").write_bytes(b"x")
    skipped = Skipped()
    assert [p.name for p in images_in(root, skipped)] == ["a.png", "b.JPG"]
    assert (skipped.hidden, skipped.other) == (1, 1)
    assert skipped.notes()[0].startswith("2 files are skipped")
    assert "Thumbs.db" in skipped.notes()[0]
    assert Skipped().notes() == []


def test_the_index_of_a_search_is_no_news(put):
    root = put("a.png", ".reidtune/index.png", ".git/x.png")
    skipped = Skipped()
    assert [p.name for p in images_below(root, skipped)] == ["a.png"]
    assert (skipped.hidden, skipped.examples) == (1, [".git"])


def test_images_below_reads_all_depths_in_order(put):
    root = put("z.png", "b/2.png", "b/1.png", "a/x/y.png", "__MACOSX/q.png")
    assert [p.relative_to(root).as_posix() for p in images_below(root)] == ["z.png", "a/x/y.png", "b/1.png", "b/2.png"]


def test_links_are_followed_and_circles_end(put):
    root = put("real/1.png")
    (root / "linked").symlink_to(root / "real", target_is_directory=True)
    (root / "real" / "2.png").symlink_to(root / "real" / "1.png")
    (root / "real" / "back").symlink_to(root, target_is_directory=True)
    found = [p.relative_to(root).as_posix() for p in images_below(root)]
    assert found == ["linked/1.png", "linked/2.png", "real/1.png", "real/2.png"]


def test_a_folder_named_like_an_image_is_a_folder(put):
    root = put("a.png/inside.png")
    assert images_in(root) == []
    assert not has_images(root)
    assert subfolders(root) == [root / "a.png"]
    assert [p.name for p in images_below(root)] == ["inside.png"]


def test_no_file_is_looked_at_one_by_one(put, monkeypatch):
    root = put(*[f"{i}.png" for i in range(20)])

    def refuse(*_args, **_kwargs):
        raise AssertionError("stat of a file")

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(Path, "stat", refuse)
    assert len(images_in(root)) == 20


def test_names_can_always_be_printed():
    assert show(os.fsdecode(b"a\xff\n.png")) == "a\\udcff\\n.png"
    assert show(Path("größe 2.png")) == "größe 2.png"


def test_a_link_in_a_circle_is_listed_and_no_folder(put):
    root = put("a.png")
    for name in ("circle.png", "around"):
        (root / name).symlink_to(root / name)
    assert [path.name for path in images_below(root)] == ["a.png", "circle.png"]
    assert has_images(root)
    assert subfolders(root) == []


def test_a_link_to_a_folder_above_the_first_one_is_not_entered(put):
    root = put("ann/1.png", "bob/1.png")
    (root / "ann" / "everyone").symlink_to(root, target_is_directory=True)
    below = [path.relative_to(root).as_posix() for path in images_below(root / "ann", above=(root,))]
    assert below == ["ann/1.png"]


def test_some_images_are_found_without_reading_the_whole_folder(put, monkeypatch):
    root = put(*[f"{n:02d}.png" for n in range(40)], "deep.png/x.png", ".hidden.png")
    seen = []
    look = scan.is_image_name
    monkeypatch.setattr(scan, "is_image_name", lambda name: seen.append(name) or look(name))
    assert len(scan.some_images(root, 3)) == 3
    assert len(seen) < 10
    assert [path.name for path in scan.some_images(root, 100)] == [f"{n:02d}.png" for n in range(40)]


def test_garbage_is_collected_again_after_a_listing_also_a_failed_one(tmp_path):
    with pytest.raises(DataError):
        open_dataset(tmp_path)
    assert gc.isenabled()
    gc.disable()
    try:
        with scan.without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()  # who had switched it off keeps it so
    finally:
        gc.enable()


def test_endings_decide_in_any_case_and_a_point_alone_is_none():
    assert [scan.is_image_name(name) for name in ("a.JPG", "a.b.webp", "jpg", "a.", "a.jpg.txt", "a.jpg ")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
