"""The delta file format: what its header says, how it is spelled, and what its digest covers.

A delta is an ordinary safetensors file. All its metadata is one canonical JSON string under the single metadata
key ``reidtune``; this module knows that string and the digest, and needs nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from reidtune.errors import DeltaError

FORMAT = 1
METADATA_KEY = "reidtune"
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "I32": 4,
    "I64": 8,
    "F16": 2,
    "BF16": 2,
    "F32": 4,
    "F64": 8,
}
"""Bytes of one value of each safetensors dtype that a delta may hold."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as the file's header lists it. ``start`` and ``stop`` are bytes from the start of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def values(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class DeltaHeader:
    """What a delta says of itself.

    ``backbone`` is ``{"name", "pretrained", "fingerprint": {"digest", "tensors": {name: hash}, "switches": {…}}}``,
    ``preprocess`` the fields of :class:`reidtune.backbone.preprocess.Preprocess`, ``data`` the manifest of the
    training data, ``metrics`` the validation numbers at save time with how they were obtained, ``norms`` the L2
    norm of each tensor (6 digits), ``parameters`` the number of trained values that the file holds.
    """

    format: int
    method: str
    settings: dict[str, Any]
    backbone: dict[str, Any]
    preprocess: dict[str, Any]
    task: str
    protocol: str
    data: dict[str, Any]
    metrics: dict[str, Any]
    norms: dict[str, float]
    parameters: int
    versions: dict[str, str]
    digest: str

    def to_json(self) -> dict[str, Any]:
        """The header as a plain dictionary, all fields included."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> DeltaHeader:
        """Check ``values`` and make the header of them.

        Raises :class:`DeltaError` for a newer format, for unknown or missing keys, and for wrong types.
        """
        if not isinstance(values, dict):
            raise damaged(f"its metadata is {_kind(values)}, not an object")
        version = values.get("format")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise damaged(f"its format version is {_show(version)}, not a positive whole number")
        if version > FORMAT:
            raise DeltaError(
                f"this delta has format {version}, and this reidtune reads formats up to {FORMAT}.",
                "Upgrade reidtune: pip install --upgrade reidtune",
            )
        _check_keys("its metadata", values, [field.name for field in fields(cls)])
        for key, (is_right, wanted) in _TYPES.items():
            if not is_right(values[key]):
                raise damaged(f"{key} must be {wanted}, but is {_show(values[key])}")
        _check_keys("backbone", values["backbone"], ["name", "pretrained", "fingerprint"])
        if not _is_name(values["backbone"]["name"]):
            raise damaged(f"backbone.name must be a name, but is {_show(values['backbone']['name'])}")
        pretrained = values["backbone"]["pretrained"]
        if pretrained is not None and not isinstance(pretrained, str):
            raise damaged(f"backbone.pretrained must be a string or null, but is {_show(pretrained)}")
        check_fingerprint(values["backbone"]["fingerprint"])
        _check_preprocess(values["preprocess"])
        return cls(**values)


def check_fingerprint(values: Any) -> None:
    """Raise :class:`DeltaError` unless ``values`` is ``{"digest": str, "tensors": {str: str}, "switches": {…}}``."""
    if not isinstance(values, dict):
        raise damaged(f"the backbone's fingerprint is {_kind(values)}, not an object")
    _check_keys("the backbone's fingerprint", values, ["digest", "tensors", "switches"])
    if not _is_name(values["digest"]):
        raise damaged(f"the fingerprint's digest must be a string, but is {_show(values['digest'])}")
    if not _is_strings(values["tensors"]):
        raise damaged("the fingerprint's tensors must be an object of names and hashes")
    if not isinstance(values["switches"], dict):
        raise damaged(f"the fingerprint's switches must be an object, but are {_show(values['switches'])}")


def canonical_json(values: Any) -> str:
    """``values`` as JSON with sorted keys and no spaces. Raises ``ValueError`` for NaN and infinities."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def strict_json(text: str) -> Any:
    """Parse JSON; duplicate keys and NaN raise ``ValueError`` where the standard library takes them in silence."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def start_digest(metadata: Mapping[str, Any]) -> Any:
    """A SHA-256 that has seen ``metadata`` without its digest; tensors follow through :func:`digest_line`."""
    without = {key: value for key, value in metadata.items() if key != "digest"}
    return hashlib.sha256(canonical_json(without).encode())


def digest_line(name: str, dtype: str, shape: Iterable[int]) -> bytes:
    """What is hashed before a tensor's bytes. The newline cannot occur in canonical JSON, so nothing is ambiguous."""
    return f"\n{canonical_json([name, dtype, list(shape)])}\n".encode()


def damaged(reason: str) -> DeltaError:
    """The error of a file that cannot be what it claims; ``reason`` completes the sentence."""
    return DeltaError(f"the delta is damaged: {reason}.", "Get the file again from where it came from.")


def _check_keys(where: str, values: Mapping[str, Any], wanted: list[str]) -> None:
    for key in wanted:
        if key not in values:
            raise damaged(f'{where} lacks the key "{key}"')
    for key in values:
        if key not in wanted:
            raise damaged(f'{where} has the unknown key "{key}"')


def _check_preprocess(values: dict[str, Any]) -> None:
    _check_keys("preprocess", values, ["height", "width", "mean", "std", "interpolation"])
    for key in ("height", "width"):
        if not _is_count(values[key]) or values[key] == 0:
            raise damaged(f"preprocess.{key} must be a positive whole number, but is {_show(values[key])}")
    for key in ("mean", "std"):
        triple = values[key]
        if not isinstance(triple, list) or len(triple) != 3 or not all(map(_is_number, triple)):
            raise damaged(f"preprocess.{key} must be three numbers, but is {_show(triple)}")
    if min(values["std"]) <= 0:
        raise damaged(f"preprocess.std must be positive, but is {_show(values['std'])}")
    if not _is_name(values["interpolation"]):
        raise damaged(f"preprocess.interpolation must be a name, but is {_show(values['interpolation'])}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_norms(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(item) and item >= 0 for item in value.values())


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "method": (_is_name, "a name"),
    "settings": (_is_object, "an object"),
    "backbone": (_is_object, "an object"),
    "preprocess": (_is_object, "an object"),
    "task": (_is_name, "a name"),
    "protocol": (_is_name, "a name"),
    "data": (_is_object, "an object"),
    "metrics": (_is_object, "an object"),
    "norms": (_is_norms, "an object of tensor names and numbers"),
    "parameters": (_is_count, "a whole number"),
    "versions": (_is_strings, "an object of strings"),
    "digest": (_is_digest, "64 hexadecimal digits"),
}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f'the key "{twice}" occurs twice')
    return values


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        int: "a number",
        float: "a number",
        bool: "a boolean",
    }
    return names.get(type(value), "nothing")


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
