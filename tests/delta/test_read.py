from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from reidtune.delta import check_backbone, find_delta, read_file, read_header, read_tensors, verify
from reidtune.delta.format import canonical_json
from reidtune.errors import DeltaError, SettingsError


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The file's header as JSON and its data."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def assemble(path: Path, listing: Any, data: bytes) -> None:
    text = listing if isinstance(listing, bytes) else json.dumps(listing).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def places(choose: random.Random, length: int) -> list[int]:
    """The first and last bytes of a file and a few hundred between: every one would take seconds."""
    return [*range(16), *choose.sample(range(16, length - 16), 300), *range(length - 16, length)]


def relist(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Lie in the header: ``change`` edits the tensor listing in place."""
    listing, data = parts(path)
    change(listing)
    assemble(path, listing, data)


def remeta(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Lie in the metadata, canonically spelled."""
    listing, data = parts(path)
    values = json.loads(listing["__metadata__"]["reidtune"])
    change(values)
    listing["__metadata__"]["reidtune"] = canonical_json(values)
    assemble(path, listing, data)


def test_an_honest_file_passes(delta: Path, tensors: dict[str, torch.Tensor]) -> None:
    found = verify(delta)
    assert [entry.name for entry in found.tensors] == sorted(tensors)
    assert found.bytes == delta.stat().st_size
    assert set(read_tensors(delta)) == set(tensors)
    relist(delta, lambda listing: None)  # another JSON spelling of the same listing is the same delta
    assert verify(delta).header == found.header


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


NAME = "lora.0.q.down"  # float32 [2, 6], 48 bytes


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


def test_a_newer_format_says_to_upgrade(delta: Path) -> None:
    remeta(delta, lambda values: values.update(format=2, surprise=1))
    with pytest.raises(DeltaError, match="format 2") as caught:
        read_header(delta)
    assert "Upgrade" in caught.value.hint


WRONG: dict[str, list[Any]] = {
    "format": [0, "1", True, None],
    "method": ["", 3],
    "settings": [[], None],
    "backbone": [{}, {"name": 1, "pretrained": None, "fingerprint": {}}, "tiny"],
    "preprocess": [{}, {"height": 96}],
    "task": [None],
    "protocol": [1],
    "data": [[]],
    "metrics": ["good"],
    "norms": [{NAME: "1"}, {NAME: -1.0}, []],
    "parameters": [-1, 1.5, "3", 10**9],
    "versions": [{"torch": 2}],
    "digest": ["", "Z" * 64, 0],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_metadata_of_the_wrong_type(delta: Path, key: str, value: Any) -> None:
    remeta(delta, lambda values: values.update({key: value}))
    with pytest.raises(DeltaError, match="damaged"):
        read_header(delta)


@pytest.mark.parametrize("key", list(WRONG))
def test_a_missing_key_is_named(delta: Path, key: str) -> None:
    remeta(delta, lambda values: values.pop(key))
    with pytest.raises(DeltaError, match=key):
        read_header(delta)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.update(surprise=1), 'unknown key "surprise"'),
        (lambda m: m["backbone"].update(path="/x"), 'backbone has the unknown key "path"'),
        (lambda m: m["backbone"].update(pretrained=3), "backbone.pretrained"),
        (lambda m: m["backbone"]["fingerprint"].update(tensors={"a": 1}), "names and hashes"),
        (lambda m: m["backbone"]["fingerprint"].update(digest=""), "fingerprint's digest"),
        (lambda m: m["backbone"]["fingerprint"].update(switches=[]), "switches"),
        (lambda m: m["preprocess"].update(height=0), "preprocess.height"),
        (lambda m: m["preprocess"].update(mean=[1, 2]), "preprocess.mean"),
        (lambda m: m["preprocess"].update(std=[1, 1, 0]), "preprocess.std"),
        (lambda m: m["preprocess"].update(interpolation=None), "preprocess.interpolation"),
    ],
)
def test_metadata_that_lies_deeper(delta: Path, change: Callable[[dict[str, Any]], Any], reason: str) -> None:
    remeta(delta, change)
    with pytest.raises(DeltaError, match=reason):
        read_header(delta)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "not an object"),
        ("{", "not valid JSON"),
        ('{"format":1,"format":1}', "occurs twice"),
        ('{"format":1e999}', "not valid JSON"),
        ('{"format":Infinity}', "not valid JSON"),
        ('{"format": 1}', "canonical"),
        ('{"format":"\\ud800"}', "not valid JSON"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "not valid JSON"),
        (5, "not a string"),
    ],
)
def test_metadata_that_is_no_canonical_json(delta: Path, text: Any, reason: str) -> None:
    relist(delta, lambda listing: listing["__metadata__"].update(reidtune=text))
    with pytest.raises(DeltaError, match=reason):
        read_header(delta)


def test_metadata_under_other_keys_is_refused(delta: Path) -> None:
    relist(delta, lambda listing: listing["__metadata__"].update(note="unsigned"))
    with pytest.raises(DeltaError, match='unknown key "note"'):
        read_header(delta)


def test_run_folders(delta: Path) -> None:
    best = delta.with_name("best.safetensors")
    assert find_delta(delta.parent) == delta
    delta.rename(best)
    assert find_delta(delta.parent) == best
    assert read_file(delta.parent).path == best
    best.unlink()
    with pytest.raises(SettingsError, match="holds no delta"):
        read_header(delta.parent)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no delta at") as caught:
        read_header(tmp_path / "nothing.safetensors")
    assert caught.value.exit_code == 2


def test_the_right_backbone_passes(delta: Path, header: dict[str, Any]) -> None:
    fingerprint = header["backbone"]["fingerprint"]
    fingerprint["switches"]["image_size"] = (96, 48)  # a live fingerprint may hold tuples
    check_backbone(read_header(delta), fingerprint)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda f: f["tensors"].update({"visual.proj": "3"}), '"visual.proj" has other values'),
        (lambda f: f["tensors"].pop("visual.proj"), 'no tensor "visual.proj"'),
        (lambda f: f["tensors"].update(extra="1"), 'a tensor "extra"'),
        (lambda f: f["tensors"].update(dict.fromkeys(f["tensors"], "x")), '"visual.conv1.weight".*and 1 more'),
        (
            lambda f: f["switches"].update(activation="gelu"),
            'activation = "quick_gelu", but this backbone has activation = "gelu"',
        ),
        (lambda f: f["switches"].update(image_size=[256, 128]), r"image_size = \[96,48\].*\[256,128\]"),
        (lambda f: f.update(digest="ee"), "abababababab.*ee"),
    ],
)
def test_another_backbone_is_refused(
    delta: Path, header: dict[str, Any], change: Callable[[dict[str, Any]], Any], what: str
) -> None:
    fingerprint = header["backbone"]["fingerprint"]
    change(fingerprint)
    with pytest.raises(DeltaError, match=what) as caught:
        check_backbone(read_header(delta), fingerprint)
    assert "tiny (embedded)" in caught.value.message
    assert caught.value.hint


def test_reading_a_header_imports_nothing_heavy(delta: Path) -> None:
    script = (
        "import sys; from reidtune.delta import read_header, verify; "
        f"read_header({str(delta)!r}); verify({str(delta)!r}); "
        "print(sorted({'torch', 'numpy', 'pydantic', 'safetensors'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
