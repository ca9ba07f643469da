"""``reidtune search``: outputs and exit codes."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from reidtune.cli.app import run
from reidtune.delta import write_delta
from reidtune.methods.registry import find_method


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (16, 32), (40 * number, 250 - 40 * number, 90)).save(folder / "deep" / f"{number}.png")
    return folder


@pytest.fixture
def backbone(small_backbone):
    return f"--backbone=local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def search(capsys, photos, backbone):
    """Run the command; returns code, stdout and stderr (its lines joined)."""

    def call(*arguments, folder=photos):
        code = run(["search", str(folder), backbone, *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, " ".join(printed.err.split())

    return call


def test_a_table_and_notes_apart(search):
    code, out, err = search("--text", "a red coat", "--top", 4)
    assert (code, err) == (0, "Index of 6 images: 6 new.")
    lines = out.splitlines()
    assert lines[0].split() == ["rank", "score", "path"]
    assert [line.split()[0] for line in lines[2:6]] == ["1", "2", "3", "4"]
    assert lines[2].split()[2].startswith("deep/")
    assert max(map(len, lines)) <= 80
    assert "Best 4 of 6 images for “a red coat”" in " ".join(out.split())
    assert search("--text", "a red coat", "-q")[2] == ""
    assert search("--text", "a red coat", "--rebuild")[2] == "Index of 6 images: 6 new."


def test_json_alone_on_stdout(search, photos):
    (photos / "bad.png").write_bytes(b"")
    code, out, err = search("--image", photos / "deep" / "1.png", "--text", "x", "--weight", 0.2, "--json")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    assert printed["schema"] == 1
    assert printed["query"] == {"text": "x", "image": str(photos / "deep" / "1.png"), "weight": 0.2}
    assert [row["rank"] for row in printed["results"]] == [1, 2, 3, 4, 5]
    assert all(Path(row["path"]).is_file() for row in printed["results"])
    assert printed["index"]["unreadable"] == 1


def test_sheets(search, tmp_path):
    assert search("--text", "x", "--sheet", tmp_path / "a.png")[0] == 0
    assert Image.open(tmp_path / "a.png").width > 300
    assert search("--text", "x", "--sheet", tmp_path / "a.html")[0] == 0
    assert (tmp_path / "a.html").read_text().count("data:image/jpeg") == 6
    code, out, err = search("--text", "x", "--sheet", tmp_path / "a.html")
    assert (code, out) == (2, "")
    assert "exists. Choose another file, or replace it with --force." in err
    assert search("--text", "x", "--sheet", tmp_path / "a.html", "--force")[0] == 0


def test_matches_are_printed_also_where_the_page_cannot_be_written(search, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = search("--text", "x", "--sheet", tmp_path / "file" / "a.html")
    assert code == 1
    assert "Best 6 of 6" in out
    assert "could not be written" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give a text, an image, or both"),
        (["--text", ""], "is empty"),
        (["--text", "x", "--weight", "2"], "--weight"),
        (["--text", "x", "--top", "0"], "--top"),
        (["--text", "x", "--device", "gpu"], "gpu"),
        (["--text", "x", "--image-size", "big"], "big"),
        (["--text", "x", "--delta", "nowhere"], "nowhere"),
        (["--text", "x", "--sheet", "a.xyz"], "no kind of picture or page"),
    ],
)
def test_usage_is_2(search, photos, arguments, sentence):
    code, out, err = search(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert not (photos / ".reidtune").exists()


def test_missing_or_bad_data_is_4(search, tmp_path, photos):
    (tmp_path / "empty").mkdir()
    for folder, sentence in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "holds no images"),
        (photos / "deep" / "0.png", "is a file"),
    ):
        code, out, err = search("--text", "x", folder=folder)
        assert (code, out) == (4, "")
        assert sentence in err
    code, _, err = search("--image", tmp_path / "nope.jpg")
    assert code == 4
    assert "nope.jpg" in err


def test_deltas(search, small_backbone, header_for, tmp_path):
    page = find_method("vpt")
    method = page(page.Settings(tokens=2))
    path = tmp_path / "delta.safetensors"
    write_delta(path, method.tuner(small_backbone).tensors(), header_for(method, small_backbone))
    code, out, err = search("--text", "x", "--delta", path, "--json")
    assert code == 0
    assert json.loads(out)["delta"]["method"] == "vpt"
    assert search("--text", "x", "--delta", "none")[2].endswith("6 new.")  # an index of its own
    code, _, err = search("--text", "x", "--delta", path, "--backbone", "tiny")
    assert code == 3
    path.write_bytes(path.read_bytes()[:100])
    assert search("--text", "x", "--delta", path)[0] == 3


def test_ctrl_c_keeps_what_is_done(photos, backbone):
    for number in range(1000):
        Image.new("RGB", (16, 32), (number % 256, number // 256, 90)).save(photos / f"{number}.bmp")
    command = [sys.executable, "-m", "reidtune", "search", str(photos), backbone, "--text", "x", "--batch-size", "1"]
    # The index is written early, which also says that the loop runs; images are read slowly, so that it does for long.
    script = (
        "import signal, sys, time, reidtune.retrieval.index as index\n"
        "from reidtune.cli.app import run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a test run in the background ignores it
        "index.SAVE_SECONDS, read = 0.2, index.read_image\n"
        "index.read_image = lambda file: (time.sleep(0.1), read(file))[1]\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, *command[3:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240  # a busy machine takes long to import torch
    while not list(photos.glob(".reidtune/*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(5):  # Python may drop an interrupt that arrives inside a callback: as a user would, press again
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, err = process.communicate(timeout=30)
            break
    else:
        process.kill()
        pytest.fail(f"It goes on in spite of five interrupts: {process.communicate()}")
    assert (process.returncode, out) == (130, ""), err
    assert "embedded; they are kept" in err
    assert "Traceback" not in err
    assert len(list(photos.glob(".reidtune/*"))) == 1
