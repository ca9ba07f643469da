"""``reidtune inspect``: what a delta is. Needs neither torch nor the dataset nor the backbone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidtune.cameras import cameras_of
from reidtune.cli.console import clean, print_json, stdout
from reidtune.cli.options import Json

if TYPE_CHECKING:
    from reidtune.delta.format import DeltaHeader
    from reidtune.delta.read import DeltaFile

EXAMPLES = (
    "reidtune inspect run",
    "reidtune inspect run/delta.safetensors --verify",
    "reidtune inspect run --json",
)

_SHORT = 12  # digits of a hash


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A delta (.safetensors) or a run folder.")],
    check: Annotated[bool, typer.Option("--verify", help="Recompute the digest over every byte first.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a delta is: method, backbone, preprocessing, data, metrics, tensors.

    Reads the file's header only (all of it with --verify), and runs nothing from it.
    """
    from reidtune.delta.read import read_file, verify

    delta = verify(path) if check else read_file(path)
    if as_json:
        print_json(describe(delta) | ({"verified": True} if check else {}))
    else:
        _print(delta, check)


def describe(delta: DeltaFile) -> dict[str, Any]:
    """The object that ``inspect --json`` prints."""
    header = delta.header
    tensors = [{"name": entry.name, "shape": list(entry.shape), "dtype": entry.dtype} for entry in delta.tensors]
    names = modalities_of(header)
    return {
        "schema": 1,
        **header.to_json(),
        **({"modalities": names} if names else {}),
        "path": str(delta.path),
        "bytes": delta.bytes,
        "tensors": tensors,
    }


def modalities_of(header: DeltaHeader) -> list[str]:
    """What a sample of a multi-modal delta consists of; empty for one of single images."""
    names = header.data.get("modalities") or ()
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _print(delta: DeltaFile, verified: bool) -> None:
    header = delta.header
    fingerprint = header.backbone["fingerprint"]
    pretrained = header.backbone["pretrained"]
    preprocess = header.preprocess
    _section(
        "Delta",
        {
            "file": delta.path,
            "method": header.method,
            "task": f"{header.task}, protocol {header.protocol}",
            **({"modalities": names} if (names := modalities_of(header)) else {}),
            **({"cameras": bound.sentence()} if (bound := cameras_of(header.settings, header.data)) else {}),
            "size": f"{_bytes(delta.bytes)}, {header.parameters:,} parameters",
            "digest": f"{header.digest[:_SHORT]} ({'verified' if verified else 'not verified, --verify does'})",
        },
    )
    _section("Settings", header.settings)
    _section(
        "Backbone",
        {
            "name": f"{header.backbone['name']} ({pretrained})" if pretrained else header.backbone["name"],
            "fingerprint": f"{fingerprint['digest'][:_SHORT]} over {len(fingerprint['tensors'])} tensors",
            **fingerprint["switches"],
        },
    )
    _section(
        "Preprocessing",
        {
            "image": f"squashed to {preprocess['height']}x{preprocess['width']} (height x width), "
            f"{preprocess['interpolation']}",
            "mean": preprocess["mean"],
            "std": preprocess["std"],
        },
    )
    _section("Data", _data(header.data))
    _section("Metrics", dict(sorted(header.metrics.items(), key=lambda item: _natural(item[0]))))
    _section("Tensors", _components(delta))
    _section("Versions", header.versions)
    if names:
        _section("Use", _uses(names))


def _data(data: dict[str, Any]) -> dict[str, Any]:
    """What a delta was trained on; of joined datasets a line each."""
    joined = data.get("datasets")
    if not isinstance(joined, list):
        return data
    parts = {f"dataset {place}": part for place, part in enumerate(joined, 1)}
    return {name: value for name, value in data.items() if name != "datasets"} | parts


def _uses(names: list[str]) -> dict[str, str]:
    """What is needed to use a multi-modal delta, and how."""
    sample = ", ".join(f'"{name}": "{name}.jpg"' for name in names)
    return {
        "needs": f"samples of images of {', '.join(names)}; some may be missing in a sample, not all",
        "search": f"reidtune search FOLDER --delta DELTA {' '.join(f'--image {name}=FILE' for name in names)}",
        "Python": f"reidtune.load(DELTA).embed_samples([{{{sample}}}])",
    }


def _section(title: str, values: dict[str, Any]) -> None:
    console = stdout()
    console.print(f"[bold]{title}[/]")
    width = max([len(str(name)) for name in values], default=0)
    for name, value in values.items():
        console.print(f"  {clean(str(name).ljust(width))}  {clean(_text(name, value))}", soft_wrap=True)
    if not values:
        console.print("  none")
    console.print()


def _natural(name: str) -> tuple[str, int]:
    """Sorts rank-5 before rank-10."""
    head, _, number = name.rpartition("-")
    return (head, int(number)) if number.isdecimal() else (name, 0)


def _components(delta: DeltaFile) -> dict[str, str]:
    """A line for each component: the first part of its tensors' names."""
    groups: dict[str, list[tuple[int, int, str]]] = {}
    for entry in delta.tensors:
        size = entry.stop - entry.start
        groups.setdefault(entry.name.partition(".")[0], []).append((entry.values, size, entry.dtype))
    lines = {}
    for name, items in groups.items():
        dtypes = "/".join(sorted({dtype for _, _, dtype in items}))
        count, values, size = len(items), sum(item[0] for item in items), sum(item[1] for item in items)
        lines[name] = f"{count} tensor{'s' * (count != 1)}, {values:,} values, {_bytes(size)}, {dtypes}"
    return lines


def _text(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(key, item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(name, item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and (name in {"mAP", "mINP"} or name.startswith("rank-")):
        return f"{100 * value:.2f} %"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32,}", value):
        return value[:_SHORT]
    return "none" if value is None else str(value)


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
