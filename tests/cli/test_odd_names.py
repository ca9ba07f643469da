"""Folders and files of any name, in a dataset that no command may write to."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from reidtune.cli.app import run

NAMES = (
    "ann",
    "größe 2",
    "new\nline",
    "\u202ertl",
    "emoji😀",
    "b" * 200,
    os.fsdecode(b"bad\xff"),
    "tab\tname",
    "[bold]x",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("odd") / "data"
    for name in NAMES:
        (root / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 255, (32, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}-{name[:50]}.png")
    (root / "ann" / "everyone").symlink_to(root, target_is_directory=True)
    return root


@pytest.fixture
def command(folder, capfd, tmp_path):
    def state():
        return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in (folder, *folder.rglob("*"))}

    def call(*arguments):
        before = state()
        code = run([str(argument) for argument in arguments])
        printed = capfd.readouterr()
        assert state() == before  # nothing is written into a dataset
        assert not any(letter in printed.out + printed.err for letter in "\u202e\udcff\x1b")
        return code, printed

    return call


def test_data_lists_them(command, folder, tmp_path):
    code, printed = command("data", folder, "--sheet", tmp_path / "s.png", "--json")
    found = json.loads(printed.out)
    assert (code, found["files"]["total"], found["verdict"]["errors"]) == (0, 36, 0)
    assert sum(split["identities"] for split in found["splits"].values()) == 9
    (folder / "ann" / "link.png").symlink_to(folder / "ann" / "link.png")
    (folder / "new\nline" / "copy.png").write_bytes((folder / "\u202ertl" / "0-\u202ertl.png").read_bytes())
    try:
        code, printed = command("data", folder, "--layout", "folder")
    finally:
        (folder / "ann" / "link.png").unlink()
        (folder / "new\nline" / "copy.png").unlink()
    assert code == 4
    assert "ann/link.png is a link that leads in a circle" in " ".join(printed.out.split())
    assert r"new\nline/copy.png" in printed.out
    assert r"\u202ertl/0-\u202ertl.png" in printed.out


def test_train_inspect_and_evaluate(command, folder, tmp_path):
    out = tmp_path / "run"
    small = ("--backbone", "tiny", "--steps", "2", "--batch-size", "8", "--set", "data.validation_fraction=0.4")
    code, _ = command("train", folder, *small, "--workers", "0", "--output", out)
    assert code == 0
    code, printed = command("inspect", out)
    assert code == 0
    code, printed = command("evaluate", folder, "--delta", out, "--json")
    assert (code, json.loads(printed.out)["layout"]) == (0, "folder")


def test_embed_and_evaluate_its_table(command, folder, tmp_path):
    code, _ = command("embed", folder, "--layout", "folder", "--backbone", "tiny", "--output", tmp_path / "f.npy")
    assert code == 0
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    assert "new\nline" in {row["identity"] for row in rows}
    code, printed = command("evaluate", "--features", tmp_path / "f.npy", "--labels", tmp_path / "f.csv", "--json")
    assert (code, json.loads(printed.out)["queries"]["total"]) == (0, 16)


def test_names_that_are_no_text_get_into_a_delta_as_text(capfd, tmp_path):
    root = tmp_path / "data"
    for number in range(8):
        for image in range(4):
            path = root / "train" / os.fsdecode(b"bad\xff%d" % number) / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.linear_gradient("L").rotate(37 * number + image).resize((16, 32)).save(path)
    options = ["--backbone", "tiny", "--steps", "1", "--batch-size", "8", "--workers", "0"]
    assert run(["train", str(root), *options, "--output", str(tmp_path / "run")]) == 0
    assert run(["inspect", str(tmp_path / "run")]) == 0
    assert r"identities bad\udcff" in capfd.readouterr().out
