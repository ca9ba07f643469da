"""What ``reidtune data`` prints: counts a split, image sizes, what was found, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reidtune.data.findings import ERROR, FACT, LEVELS, WARNING
from reidtune.report.tables import GAP, Fitting, and_list, visible
from reidtune.units import format_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

STYLES = {ERROR: "bold red", WARNING: "yellow", FACT: "bold"}


def survey_report(result: Mapping[str, Any]) -> RenderableType:
    """The object of :func:`reidtune.surveying.survey`, without its sentence, for people."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_splits(result), ""]
    parts += [Text(visible(line), overflow="fold") for line in _sizes(result)]
    parts += [Text(visible(line), overflow="fold") for line in _captions(result)]
    if result["findings"]:
        parts += ["", _findings(result["findings"])]
    parts += ["", Text(visible(took(result))), Text(visible(verdict(result)), "bold")]
    return Group(*parts)


def verdict(result: Mapping[str, Any]) -> str:
    """``Can be trained on, not evaluated: no errors, 2 warnings.``"""
    found = result["verdict"]
    number = [f"{_number(found[key])} {key[:-1] if found[key] == 1 else key}" for key in ("errors", "warnings")]
    can, cannot = (" and ".join(_uses(result, able)) for able in (True, False))
    if not can:
        words = "Can neither be trained on nor evaluated"
    else:
        words = f"Can be {can}, not {cannot}" if cannot else f"Can be {can}"
    return f"{words}: {', '.join(number)}."


def refusal(result: Mapping[str, Any]) -> str:
    """What the data cannot be used for, and the errors that say why."""
    errors = [finding["sentence"] for finding in result["findings"] if finding["level"] == ERROR]
    cannot = " or ".join(_uses(result, False))
    return "\n  ".join([f'"{result["data"]}" cannot be {cannot} as it is:', *errors])


def _uses(result: Mapping[str, Any], able: bool) -> list[str]:
    found = result["verdict"]
    return [word for word, key in (("trained on", "trainable"), ("evaluated", "evaluable")) if found[key] == able]


def took(result: Mapping[str, Any]) -> str:
    """How many files were looked at, how, and how long it took."""
    files, seconds = result["files"], sum(result["seconds"].values())
    how = "headers only, nothing decoded (--quick)" if result["quick"] else f"{files['decoded']:,} decoded"
    return f"{files['total']:,} files, {format_bytes(files['bytes'])}, looked at in {seconds:,.1f} s: {how}."


def _number(count: int) -> str:
    return f"{count:,}" if count else "no"


def _splits(result: Mapping[str, Any]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    one = "samples" if result["modalities"] else "images"
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    rows = {name: dict(_row(split, one)) for name, split in result["splits"].items()}
    headings = list(dict.fromkeys(heading for row in rows.values() for heading in row))
    lines = []
    table.add_column("split", no_wrap=True)
    for heading in headings:
        values = [row.get(heading, "–") for row in rows.values()]
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(map(len, [heading, *values])))
    for name, row in rows.items():
        table.add_row(name, *(row.get(heading, "–") for heading in headings))
        lines.append(Text(f"{name}: " + ", ".join(f"{heading} {value}" for heading, value in row.items())))
    width = max(map(len, rows)) + sum((column.min_width or 0) + GAP for column in table.columns)
    return Fitting(table, width, Group(*lines))


def _row(split: Mapping[str, Any], one: str) -> Iterator[tuple[str, str]]:
    yield "identities", f"{split['identities']:,}"
    yield one, f"{split['samples']:,}"
    if split["captions"] is not None:
        yield "captions", f"{split['captions']:,}"
    if split["cameras"] is not None:
        yield "cameras", f"{split['cameras']:,}"
    if split["scenes"] is not None:
        yield "scenes", f"{split['scenes']:,}"
    yield "an identity", _spread(split["samples_per_identity"])
    yield "with one", f"{split['samples_per_identity']['single']:,}"
    for name, number in split.get("modalities", {}).items():
        yield name, f"{number:,}"


def _spread(values: Mapping[str, Any]) -> str:
    """Least / median / most; a dash of nothing, and one number where they are equal."""
    if values["median"] is None:
        return "–"
    if values["min"] == values["max"]:
        return f"{values['min']:,}"
    return " / ".join(f"{values[key]:,g}" if values[key] < 1e6 else f"{values[key]:,}" for key in LEAST_TO_MOST)


LEAST_TO_MOST = ("min", "median", "max")


def _sizes(result: Mapping[str, Any]) -> Iterator[str]:
    """A sentence a kind of size: splits of the same sizes share one."""
    told: dict[str, list[str]] = {}
    for name, split in result["splits"].items():
        if split["sizes"] is not None:
            told.setdefault(_size(split["sizes"]), []).append(name)
    for words, names in told.items():
        yield f"{and_list(names)}: {words}"


def _size(sizes: Mapping[str, Any]) -> str:
    """In width × height; the height is the model's first number, so that squashing is told in its words."""
    squashed = sizes["squashed"]
    first = sizes["most_frequent"]
    if sizes["different"] == 1:
        words = f"all {first[0]['width']}×{first[0]['height']} pixels (width×height)"
    else:
        often = ", ".join(f"{size['width']}×{size['height']} ({size['images']:,})" for size in first[:3])
        ranges = "×".join(f"{sizes[side]['min']:,}–{sizes[side]['max']:,}" for side in ("width", "height"))
        words = f"{sizes['different']:,} sizes, {ranges} pixels (width×height), most often {often}"
    aspect = sizes["aspect"]
    range_ = "" if aspect["min"] == aspect["max"] else f" ({aspect['min']:.2f}–{aspect['max']:.2f})"
    change = f"{squashed['enlarged']:.1f} times the size and {squashed['widened']:.2f} times as wide against the height"
    return f"{words}; height/width {aspect['median']:.2f}{range_}; squashed to 256x128 {change}."


def _captions(result: Mapping[str, Any]) -> Iterator[str]:
    captions = result["captions"]
    if captions is None or not captions["captions"]:
        return
    words = f"captions: {_spread(captions['per_image'])} an image, {_spread(captions['words'])} words"
    if captions["tokens"] is not None:
        words += f", {_spread(captions['tokens'])} tokens of the {captions['limit']} that CLIP reads"
    yield words + "."


def _findings(findings: list[Mapping[str, Any]]) -> Table:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=max(map(len, LEVELS)))
    table.add_column(overflow="fold")
    for finding in findings:
        lines: list[Text] = [Text(visible(finding["sentence"]))]
        more = finding["count"] > len(finding["examples"])
        lines += [Text(f"  {visible(example)}", "dim", overflow="fold") for example in finding["examples"]]
        if more and finding["examples"]:
            lines.append(Text("  …", "dim"))
        if finding["hint"]:
            lines.append(Text(f"→ {visible(finding['hint'])}"))
        table.add_row(Text(finding["level"], STYLES[finding["level"]]), Group(*lines))
    return table
