"""The file of rows: whole or not at all, and whatever is changed in it is noticed."""

import os
import shutil
from collections import namedtuple

import pytest
import torch
from safetensors.torch import load_file

from reidtune.training import row_file
from reidtune.training.row_file import DamagedError, file_bytes, lacking_room, map_rows, write_rows

SHAPE = (3, 4)
Usage = namedtuple("Usage", "total used free")


def rows(count=10, dtype=torch.float32):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.fixture
def file(tmp_path):
    write_rows(tmp_path / "a.safetensors", "key", SHAPE, 10, "fp32", rows().split(4))
    return tmp_path / "a.safetensors"


def mapped(path, key="key", shape=SHAPE, count=10, dtype="fp32"):
    return map_rows(path, key, shape, count, dtype)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_is_written_is_mapped_bit_for_bit_and_any_tool_reads_it(tmp_path, dtype):
    path, given, done = tmp_path / "new" / "a.safetensors", rows(), []
    write_rows(path, "key", SHAPE, 10, dtype, given.split(4), lambda *counts: done.append(counts))
    found = mapped(path, dtype=dtype)
    assert torch.equal(found, given.to(found.dtype)) and found.dtype == row_file.DTYPES[dtype]
    assert done == [(4, 10), (8, 10), (10, 10)]
    assert torch.equal(load_file(path)["rows"], found)
    assert path.stat().st_size - file_bytes(10, SHAPE, dtype) in range(100, 400)
    assert [child.name for child in path.parent.iterdir()] == ["a.safetensors"]
    assert path.stat().st_mode & 0o077 == 0


def test_a_write_that_fails_leaves_nothing(tmp_path):
    def parts():
        yield rows(4)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_rows(tmp_path / "a.safetensors", "key", SHAPE, 10, "fp32", parts())
    with pytest.raises(ValueError, match="4 rows came, 10 were announced"):
        write_rows(tmp_path / "a.safetensors", "key", SHAPE, 10, "fp32", [rows(4)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": "other"}, "of something else"),
        ({"count": 9}, "of another size"),
        ({"shape": (4, 3)}, "of another size"),
        ({"dtype": "bf16"}, "of another size"),
    ],
)
def test_a_file_of_something_else_is_refused(file, options, words):
    with pytest.raises(DamagedError, match=words):
        mapped(file, **options)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9, -0.001])
def test_every_changed_byte_is_noticed(file, place):
    content = bytearray(file.read_bytes())
    content[int(place * len(content)) if place > 0 else -1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedError, match="damaged|of something else|of another"):
        mapped(file)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\xff" * 100])
def test_what_is_no_such_file_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(DamagedError, match="damaged"):
        mapped(file)


def test_a_cut_file_is_refused_and_a_missing_one_is_missing(file):
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DamagedError, match="damaged"):
        mapped(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        mapped(file)


def test_room_is_made_by_what_was_not_used_for_longest(tmp_path, monkeypatch):
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for age, path in enumerate(files):
        path.write_bytes(b"x" * 100)
        os.utime(path, (age, age))
    stale, fresh = tmp_path / "d.partial", tmp_path / "e.partial"
    stale.touch()
    fresh.touch()
    os.utime(stale, (1, 1))
    monkeypatch.setattr(row_file, "MOST_BYTES", 250)
    assert lacking_room(tmp_path / "n.safetensors", 100) is None
    assert {path.name for path in tmp_path.iterdir()} == {"b.safetensors", "c.safetensors", "e.partial"} - {
        "b.safetensors"
    }
    assert "more than the 250 bytes" in lacking_room(tmp_path / "n.safetensors", 251)


def test_a_disk_without_room_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 1_500_000_000))
    assert lacking_room(tmp_path / "n.safetensors", 400_000_000) is None
    assert "has 1.5 GB free, of which 1 GB are left" in lacking_room(tmp_path / "n.safetensors", 600_000_000)
    (tmp_path / "file").touch()
    assert "cannot be written" in lacking_room(tmp_path / "file" / "n.safetensors", 1)
