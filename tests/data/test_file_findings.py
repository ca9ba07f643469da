from __future__ import annotations

from pathlib import Path

import pytest

from reidtune.data import Dataset, ImageFile
from reidtune.data.file_findings import Owners, broken_files, copies, odd_files
from reidtune.data.look import Look, Print

DATA = Dataset(Path("/data"), "folder", "image", "all", [], [], [], "")


def look(name, size=(64, 128), flat=False, **facts):
    path = Path("/data") / name
    facts = {"mode": "RGB", "sizes": [size], "prints": [Print(0, b"", flat)], **facts}
    return path, Look(path, (ImageFile(path),), **facts)


def kinds(findings):
    return {finding.kind: (finding.level, finding.count) for finding in findings}


def test_broken_files_are_named_without_their_folder():
    broken = look("a.png", problem='"/data/a.png" is empty (0 bytes).', sizes=[])
    (finding,) = broken_files(DATA, dict([broken, look("b.png")]))
    assert (finding.level, finding.count, finding.examples) == ("error", 1, ["a.png is empty (0 bytes)"])
    assert "1 image file of 2" in finding.sentence
    assert list(broken_files(DATA, dict([look("b.png")]))) == []
    assert kinds(odd_files(DATA, dict([broken]))) == {}


@pytest.mark.parametrize(
    ("owners", "kind"),
    [
        ([("train", 1, "rgb"), ("train", 1, "rgb")], ("copies", "fact")),
        ([("query", 1, "rgb"), ("gallery", 1, "rgb")], ("copies", "fact")),
        ([("gallery", -1, "rgb"), ("gallery", 1, "rgb")], ("copies", "fact")),
        ([("gallery", 0, "rgb"), ("gallery", 1, "rgb")], ("copies-across-identities", "warning")),
        ([("train", 1, "rgb"), ("gallery", 2, "rgb")], ("copies-across-identities", "warning")),
        ([("train", 1, "rgb"), ("gallery", 1, "rgb")], ("copies-across-splits", "warning")),
        ([("train", 1, "rgb"), ("val", 1, "nir")], ("copies-across-splits", "warning")),
        ([("train", 1, "rgb"), ("train", 1, "nir")], ("copies-across-modalities", "warning")),
    ],
)
def test_copies_count_where_they_do_most_harm(owners, kind):
    paths = [Path("/data/a.png"), Path("/data/b.png")]
    known = Owners({path: {owner} for path, owner in zip(paths, owners, strict=True)})
    (finding,) = copies(DATA, [paths], known)
    assert (finding.kind, finding.level, finding.count, finding.examples) == (*kind, 1, ["a.png = b.png"])


def test_copies_of_strips_are_not_across_modalities_and_one_file_can_be_on_two_sides():
    strip = {("train", 1, "rgb"), ("train", 1, "nir")}
    paths = [Path("/data/a.png"), Path("/data/b.png")]
    assert kinds(copies(DATA, [paths], Owners(dict.fromkeys(paths, strip)))) == {"copies": ("fact", 1)}
    assert kinds(copies(DATA, [], Owners(dict.fromkeys(paths, strip)))) == {}
    one = Owners({path: {("train", 1, "rgb"), ("test", 2, "rgb")} for path in paths})
    assert kinds(copies(DATA, [paths], one)) == {"copies-across-identities": ("warning", 1)}
    twice = Owners(
        {paths[0]: {("train", 1, "rgb"), ("train", 2, "rgb")}, paths[1]: {("train", 1, "rgb"), ("test", 1, "rgb")}}
    )
    assert kinds(copies(DATA, [], twice)) == {
        "copies-across-identities": ("warning", 1),
        "copies-across-splits": ("warning", 1),
    }


def test_odd_files():
    looks = dict(
        [
            *(look(f"{number}.png") for number in range(9)),
            look("flat.png", flat=True),
            look("tiny.png", (15, 30)),
            look("long.png", (16, 97)),
            look("nearly.png", (16, 96)),
            look("grey.png", mode="L"),
            look("turned.png", turned=True),
            look("moving.gif", animated=True, mode="P"),
        ]
    )
    assert kinds(odd_files(DATA, looks)) == {
        "flat-images": ("warning", 1),
        "tiny-images": ("warning", 1),
        "extreme-shapes": ("warning", 1),
        "converted-images": ("fact", 2),
        "turned-images": ("fact", 1),
        "animations": ("fact", 1),
    }
    examples = {finding.kind: finding.examples for finding in odd_files(DATA, looks)}
    assert examples["extreme-shapes"] == ["long.png"]


@pytest.mark.parametrize(
    ("size", "words", "hint"),
    [
        ((100, 100), "2.0 times as narrow", "--image-size 224x224"),
        ((200, 100), "4.0 times as narrow", "--image-size 128x256"),
        ((50, 160), "1.6 times as wide", "--image-size 384x128"),
        ((50, 149), None, None),
    ],
)
def test_a_shape_that_squashing_distorts_gets_a_size_to_try(size, words, hint):
    found = {finding.kind: finding for finding in odd_files(DATA, dict([look("a.png", size)]))}
    if words is None:
        assert found == {}
    else:
        assert words in found["distorted"].sentence
        assert hint in found["distorted"].hint
