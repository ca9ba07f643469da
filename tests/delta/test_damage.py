"""Bytes, headers and tensor listings that are not what was written."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from reidtune.delta import read_header, read_tensors, verify
from reidtune.errors import DeltaError
from tests.delta.lies import NAME, assemble, parts, relist


def places(choose: random.Random, length: int) -> list[int]:
    """The first and last bytes of a file and a few hundred between: every one would take seconds."""
    return [*range(16), *choose.sample(range(16, length - 16), 300), *range(length - 16, length)]


def test_a_flipped_byte_is_noticed(delta: Path) -> None:
    raw = delta.read_bytes()
    choose = random.Random(0)
    for place in places(choose, len(raw)):
        changed = bytearray(raw)
        changed[place] ^= choose.choice([1, 2, 4, 8, 16, 32, 64, 128])
        delta.write_bytes(changed)
        with pytest.raises(DeltaError):
            verify(delta)


def test_a_byte_replaced_by_white_space_or_a_digit_is_noticed(delta: Path) -> None:
    raw = delta.read_bytes()
    header_end = 8 + struct.unpack("<Q", raw[:8])[0]
    choose = random.Random(1)
    for place in places(choose, header_end):
        if place < 8:
            continue
        new = choose.choice([byte for byte in b'\t\n 0e-\\"' if byte != raw[place]])
        delta.write_bytes(raw[:place] + bytes([new]) + raw[place + 1 :])
        with pytest.raises(DeltaError):
            verify(delta)


def test_a_truncation_and_any_tail_are_noticed(delta: Path) -> None:
    raw = delta.read_bytes()
    for length in places(random.Random(3), len(raw)):
        delta.write_bytes(raw[:length])
        with pytest.raises(DeltaError):
            read_header(delta)
    delta.write_bytes(raw + b"\0")
    with pytest.raises(DeltaError, match="the file holds"):
        read_header(delta)


@pytest.mark.parametrize(("before", "after"), [(b"", b"\t"), (b"", b"\n"), (b" ", b""), (b"", b"\0")])
def test_the_header_is_padded_with_spaces_at_its_end_only(delta: Path, before: bytes, after: bytes) -> None:
    listing, data = parts(delta)
    text = json.dumps(listing).encode()
    assemble(delta, text + b"    ", data)
    verify(delta)
    assemble(delta, before + text + after, data)
    with pytest.raises(DeltaError, match="not a JSON object"):
        read_header(delta)


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.safetensors"
    noise = random.Random(2)
    for length in [0, 1, 7, 8, 9, 64, 300]:
        path.write_bytes(noise.randbytes(length))
        with pytest.raises(DeltaError):
            read_header(path)


@pytest.mark.parametrize(
    ("length", "reason"),
    [(1 << 63, "is the limit"), (100_000_001, "is the limit"), (5000, "the file has only"), (0, "not a JSON object")],
)
def test_header_lengths_that_lie(delta: Path, length: int, reason: str) -> None:
    raw = delta.read_bytes()
    delta.write_bytes(struct.pack("<Q", length) + raw[8:])
    with pytest.raises(DeltaError, match=reason) as caught:
        read_header(delta)
    assert str(delta) in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[]", "not a JSON object"),
        (b'{"a": }', "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": {}, "a": {}}', "occurs twice"),
        (b"{" + b'"a":{' * 100_000 + b"}" * 100_001, "not valid JSON"),
        (b'{"\xff": {}}', "not valid JSON"),
        (b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}', "not valid JSON"),
        (b"{}", "no delta"),
    ],
)
def test_headers_that_are_no_json(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "bad.safetensors"
    assemble(path, text, b"")
    with pytest.raises(DeltaError, match=reason):
        read_header(path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"dtype": "F31"}, "unknown dtype"),
        ({"dtype": 3}, "unknown dtype"),
        ({"dtype": "F64"}, "its offsets give"),
        ({"shape": [2, 7]}, "its offsets give"),
        ({"shape": [-2, -6]}, "which is none"),
        ({"shape": [1 << 62, 1 << 62]}, "which is none"),
        ({"shape": [0, 1 << 40, 1 << 40], "data_offsets": [0, 0]}, "too large"),
        ({"shape": [2.0, 6.0]}, "which is none"),
        ({"shape": [True, 12]}, "which is none"),
        ({"shape": "26"}, "which is none"),
        ({"shape": [1] * 9 + [12]}, "which is none"),
        ({"data_offsets": [48, 0]}, "its offsets give"),
        ({"data_offsets": [0]}, "which are none"),
        ({"data_offsets": [-48, 0]}, "which are none"),
        ({"data_offsets": [1 << 40, (1 << 40) + 48]}, "hole"),
        ({"data_offsets": [10, 58]}, "overlaps|hole"),
        ({"extra": 1}, "and nothing else"),
    ],
)
def test_tensors_that_lie(delta: Path, values: dict[str, Any], reason: str) -> None:
    relist(delta, lambda listing: listing[NAME].update(values))
    with pytest.raises(DeltaError, match=reason):
        read_header(delta)


def test_tensors_and_norms_name_the_same(delta: Path) -> None:
    relist(delta, lambda listing: listing.update(other=listing.pop(NAME)))
    with pytest.raises(DeltaError, match="norms"):
        read_header(delta)


def test_swapped_tensors_are_noticed_by_the_digest(delta: Path) -> None:
    def swap(listing: dict[str, Any]) -> None:
        # same dtype and size: only the digest can tell
        first, second = listing[NAME], listing["lora.0.q.up"]
        first["shape"], second["shape"] = second["shape"], first["shape"]
        first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]

    relist(delta, swap)
    read_header(delta)
    with pytest.raises(DeltaError, match="digest"):
        verify(delta)
    with pytest.raises(DeltaError, match="digest"):
        read_tensors(delta)


def test_a_plain_safetensors_file_is_no_delta(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, path, metadata={"format": "pt"})
    with pytest.raises(DeltaError, match="safetensors file but no delta"):
        read_header(path)
