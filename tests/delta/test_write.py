from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reidtune.delta import read_header, read_tensors, verify, write_delta
from reidtune.errors import DeltaError, ReidtuneError


def test_writes_what_safetensors_reads(delta: Path, tensors: dict[str, torch.Tensor]) -> None:
    found = load_file(delta)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_header_comes_back(delta: Path, header: dict[str, Any]) -> None:
    found = read_header(delta)
    assert found.method == "lora"
    assert found.settings == {"rank": 2, "targets": ["q", "v"], "note": "größe"}
    assert found.backbone == header["backbone"]
    assert found.parameters == 12 + 12 + 3 + 1
    assert found.norms["neck.count"] == 5.0
    assert found.norms["lora.0.q.up"] == pytest.approx(506**0.5, rel=1e-5)
    assert set(found.versions) == {"reidtune", "torch", "open_clip"}


def test_same_input_gives_same_bytes(
    tmp_path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any], delta: Path
) -> None:
    other = tmp_path / "other.safetensors"
    backwards = dict(reversed(tensors.items()))
    digest = write_delta(other, backwards, dict(reversed(header.items())))
    assert other.read_bytes() == delta.read_bytes()
    assert digest == read_header(delta).digest


@pytest.mark.parametrize("change", ["value", "name", "shape", "dtype", "metadata"])
def test_digest_covers_everything(
    change: str, tmp_path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any], delta: Path
) -> None:
    if change == "value":
        tensors["lora.0.q.down"] = tensors["lora.0.q.down"].clone()
        tensors["lora.0.q.down"][0, 0] = -0.0  # equal to 0.0, but another bit pattern
    elif change == "name":
        tensors["lora.1.q.down"] = tensors.pop("lora.0.q.down")
    elif change == "shape":
        tensors["lora.0.q.down"] = tensors["lora.0.q.down"].reshape(3, 4)
    elif change == "dtype":
        tensors["neck.mean"] = tensors["neck.mean"].view(torch.float16)
    else:
        header["protocol"] = "all"
    assert write_delta(tmp_path / "other.safetensors", tensors, header) != read_header(delta).digest


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("/models/ViT-B-16.pt", "ViT-B-16.pt"),
        ("C:\\models\\clip.safetensors", "clip.safetensors"),
        ("weights/clip.bin", "clip.bin"),
        ("/models/weights", "weights"),
        ("openai", "openai"),
        (None, None),
    ],
)
def test_no_folder_is_recorded(
    given: str | None, recorded: str | None, delta: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    header["backbone"]["pretrained"] = given
    write_delta(delta, tensors, header)
    assert read_header(delta).backbone["pretrained"] == recorded


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_values_that_are_not_finite(
    value: float, delta: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    before = delta.read_bytes()
    tensors["neck.mean"][1] = value
    with pytest.raises(ReidtuneError, match=r"neck\.mean.*not finite") as caught:
        write_delta(delta, tensors, header)
    assert caught.value.exit_code == 1
    assert delta.read_bytes() == before


def test_refuses_a_header_the_reader_would_refuse(
    tmp_path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    path = tmp_path / "new.safetensors"
    del header["task"]
    with pytest.raises(DeltaError, match='lacks the key "task"'):
        write_delta(path, tensors, header)
    with pytest.raises(ValueError, match="parameters is 29"):
        write_delta(path, tensors, {**header, "task": "image", "parameters": 29})
    with pytest.raises(ValueError, match="complex64"):
        write_delta(path, {"a": torch.zeros(2, dtype=torch.complex64)}, {**header, "task": "image"})
    assert list(tmp_path.iterdir()) == []


class _FullDisk:
    """A file that takes ``room`` bytes and then says that the disk is full."""

    def __init__(self, path: Path, mode: str, room: int) -> None:
        self.file, self.room = open(path, mode), room  # noqa: PTH123, SIM115

    def write(self, part: bytes) -> int:
        taken = memoryview(part)[: self.room]
        self.room -= len(taken)
        self.file.write(taken)
        if len(taken) < len(part):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(taken)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.mark.parametrize("room", [0, 8, 500, "fsync", "rename"])
def test_a_full_disk_loses_nothing(
    room: int | str,
    monkeypatch: pytest.MonkeyPatch,
    delta: Path,
    tensors: dict[str, torch.Tensor],
    header: dict[str, Any],
) -> None:
    before = delta.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if room == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif room == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        plain = Path.open

        def small(path: Path, mode: str = "r", **kwargs: Any) -> Any:
            return _FullDisk(path, mode, int(room)) if mode == "xb" else plain(path, mode, **kwargs)

        monkeypatch.setattr(Path, "open", small)
    with pytest.raises(ReidtuneError, match=r"No space left on device.*untouched") as caught:
        write_delta(delta, tensors, {**header, "protocol": "all"})
    monkeypatch.undo()
    assert caught.value.exit_code == 1
    assert caught.value.hint
    assert delta.read_bytes() == before
    assert [path.name for path in delta.parent.iterdir()] == [delta.name]


def test_a_first_write_that_fails_speaks_of_no_earlier_file(
    tmp_path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    with pytest.raises(ReidtuneError, match="No such file or directory") as caught:
        write_delta(tmp_path / "missing" / "delta.safetensors", tensors, header)
    assert "earlier" not in caught.value.message


def test_an_interrupt_leaves_no_temporary_file(
    monkeypatch: pytest.MonkeyPatch, delta: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_delta(delta, tensors, header)
    assert [path.name for path in delta.parent.iterdir()] == [delta.name]


def test_a_folder_that_cannot_be_synced_is_no_error(
    monkeypatch: pytest.MonkeyPatch, delta: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    sync = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "no folders here")
        sync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    digest = write_delta(delta, tensors, {**header, "protocol": "all"})
    assert verify(delta).header.digest == digest


def test_empty_and_shared_tensors(tmp_path: Path, header: dict[str, Any]) -> None:
    base = torch.arange(4.0)
    given = {"a": base, "b": base[1:3], "empty": torch.zeros(0, 3), "flag": torch.tensor([True, False])}
    write_delta(tmp_path / "d.safetensors", given, header)
    found = read_tensors(tmp_path / "d.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())
