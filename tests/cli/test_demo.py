"""``reidtune demo``: a world in three layouts, whole or not at all."""

import errno
import json

import pytest
from PIL import Image

from reidtune.cli.app import run


def test_prints_where_the_layouts_are(capsys, tmp_path):
    folder = tmp_path / "a [red] world"
    assert run(["demo", str(folder), "--identities", "4"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""  # no bar in a file
    lines = [line.split(maxsplit=1) for line in printed.out.splitlines()]
    assert lines == [[kind, str(folder / kind)] for kind in ("image", "text", "multimodal")]
    assert all(any((folder / kind).iterdir()) for kind in ("image", "text", "multimodal"))


def test_json_says_seed_and_identities(capsys, tmp_path):
    assert run(["demo", str(tmp_path / "w"), "--identities", "4", "--seed", "3", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["schema"], printed["seed"], printed["identities"]) == (1, 3, 4)
    assert printed["folders"]["image"] == str(tmp_path / "w" / "image")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--identities", "3"], "too few people"),
        (["--identities", "many"], "--identities"),
        (["--identities", "4", "--seed", "-1"], "negative"),
    ],
)
def test_wrong_numbers_are_2_and_leave_nothing(capsys, tmp_path, arguments, sentence):
    assert run(["demo", str(tmp_path / "w"), *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_a_file_in_the_way_is_1(capsys, tmp_path):
    (tmp_path / "w").write_text("mine")
    assert run(["demo", str(tmp_path / "w"), "--identities", "4"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "w").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(errno.ENOSPC, "No space left on device"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_world_that_is_cut_short_leaves_no_half_layout(capsys, tmp_path, monkeypatch, error, code):
    save, saved = Image.Image.save, []

    def fail_later(self, *args, **kwargs):
        saved.append(args)
        if len(saved) > 20:
            raise error
        save(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", fail_later)
    assert run(["demo", str(tmp_path / "w"), "--identities", "4"]) == code
    assert len(saved) == 21
    if code == 1:
        assert "No space left on device" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "w").rglob("*") if path.is_file()]
    monkeypatch.setattr(Image.Image, "save", save)
    assert run(["demo", str(tmp_path / "w"), "--identities", "4"]) == 0
