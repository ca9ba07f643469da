"""Tables for people: metrics and results. Fractions come in, percent goes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidtune.units import format_bytes, percent

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

METRICS = ("rank-1", "rank-5", "rank-10", "mAP", "mINP")
NAME_WIDTH = 12  # least columns for a name in a table of metrics
GAP = 2  # columns between two
DELTA_FILES = ("delta.safetensors", "best.safetensors")


def metrics_table(results: Sequence[dict[str, Any]]) -> RenderableType:
    """A row for each ``evaluate --json`` object, in percent, and below it how the numbers were obtained. A result of
    text data has two rows, text to image and image to text.

    Where results were obtained differently, a number in brackets leads from a row to its sentence. A backbone that all
    rows share stands below, too. Names that do not fit are folded, never cut; on a terminal too narrow for a table the
    numbers stand below each name.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    sentences = list(dict.fromkeys(obtained(result) for result in results))
    backbones = [backbone_name(result["backbone"]) for result in results]
    shared = len(set(backbones)) == 1
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading in ("delta",) if shared else ("delta", "backbone"):
        table.add_column(heading, overflow="fold", min_width=NAME_WIDTH)
    directed = any("image_to_text" in result for result in results)
    if directed:
        widest = max(len(direction) for result in results for direction in directions(result))
        table.add_column("ranking", no_wrap=True, min_width=widest)
    cells = [[[_metric(scores, one) for one in METRICS] for scores in directions(r).values()] for r in results]
    for heading, column in zip(METRICS, zip(*(row for rows in cells for row in rows), strict=True), strict=True):
        widest = max(map(len, (heading, "100.0", *column)))
        table.add_column(heading, justify="right", no_wrap=True, min_width=widest)
    stack: list[Text] = []
    for result, name, backbone, rows in zip(results, names_of(results), backbones, cells, strict=True):
        mark = f" [{sentences.index(obtained(result)) + 1}]" if len(sentences) > 1 else ""
        names = [name + mark] if shared else [name + mark, backbone]
        texts = [Text(visible(word), overflow="fold") for word in names]
        stack += texts
        ways = directions(result)
        for direction, numbers in zip(ways, rows, strict=True):
            pairs = ", ".join(f"{metric} {number}" for metric, number in zip(METRICS, numbers, strict=True))
            stack.append(Text(f"{direction}: {pairs}" if directed else pairs))
        # Both directions share a row, so that a folded name stands beside them and not between them.
        table.add_row(*texts, *(["\n".join(ways)] if directed else []), *map("\n".join, zip(*rows, strict=True)))
    below = [f"[{number}] {sentence}" for number, sentence in enumerate(sentences, 1)]
    below = below if len(sentences) > 1 else sentences
    if shared and any(result["backbone"] for result in results):
        below = [f"Backbone: {backbones[0]}.", *below]
    below = [*below, *_near_ties(results)]
    width = sum((column.min_width or 0) + GAP for column in table.columns) - GAP
    return Group(Fitting(table, width, Group(*stack)), "", *(Text(visible(line), overflow="fold") for line in below))


def directions(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics and counts of each kind of ranking in a result."""
    if "image_to_text" not in result:
        return {"image to image": result}
    return {"text to image": result, "image to text": result["image_to_text"]}


def _metric(scores: dict[str, Any], metric: str) -> str:
    """``73.1``, or ``73.1 ± 0.4`` of several draws."""
    spread = f" ± {percent(scores['deviation'][metric])}" if "deviation" in scores else ""
    return percent(scores["metrics"][metric]) + spread


def obtained(result: dict[str, Any]) -> str:
    """How a result was obtained: protocol, counts, skipped queries, tie rule."""
    gallery, queries = result["gallery"], result["queries"]
    one = "sample" if "modalities" in result and result["task"] != "image" else "image"
    words = [f"{result['layout']}, {result['protocol']}: {_sides(result, one)}"]
    if "draws" in result:
        words.append(f"mean ± standard deviation of {result['draws']} draws of the gallery")
    if result.get("features", {}).get("similarity", "cosine") != "cosine":
        words.append(f"compared by {result['features']['similarity']} distance")
    words += _applied(result.get("applied", {}))
    if any((left_out := result.get("left_out", {})).values()):
        sides = ((left_out["query"], "query", "queries"), (left_out["gallery"], f"gallery {one}", f"gallery {one}s"))
        counts = [f"{count:,} {single if count == 1 else many}" for count, single, many in sides if count]
        words.append(f"{' and '.join(counts)} left out for want of these modalities")
    if gallery["ignored"]:
        words.append(f"{gallery['ignored']:,} junk {one if gallery['ignored'] == 1 else f'{one}s'} left out")
    if queries["skipped"]:
        names = result.get("skipped_examples", [])
        more = ", …" if len(names) < queries["skipped"] else ""
        words.append(
            f"{queries['skipped']:,} {'query' if queries['skipped'] == 1 else 'queries'} skipped for want of a positive"
            + (f" ({', '.join(names)}{more})" if names else "")
        )
    if (back := result.get("image_to_text")) and back["queries"]["skipped"]:
        words.append(f"image to text, {back['queries']['skipped']:,} of {back['queries']['total']:,} images skipped")
    return f"{'; '.join(words)}. Metrics in percent. Ties are {result['tie_rule']}{_bounds(result)}."


def _bounds(result: dict[str, Any]) -> str:
    """Between what mAP would be by other rules, where ties make a difference that can be seen."""
    ties = result.get("ties")
    if ties is None or percent(ties["worst"]["mAP"]) == percent(ties["best"]["mAP"]):
        return ""
    worst, best = (percent(ties[side]["mAP"]) for side in ("worst", "best"))
    queries = f"{ties['queries']:,} {'query has' if ties['queries'] == 1 else 'queries have'} some"
    return f"; {queries}, and other rules give {worst} to {best} mAP"


def _near_ties(results: Sequence[dict[str, Any]]) -> list[str]:
    """One sentence for all results, since their numbers of near ties always differ; none where there are only ties."""
    rankings = [scores for result in results for scores in directions(result).values()]
    most = max(one.get("near_ties", 0) - one.get("ties", {"queries": 0})["queries"] for one in rankings)
    if most <= 0:
        return []
    number = f"{'up to ' if len(rankings) > 1 else ''}{most:,} {'query' if most == 1 else 'queries'}"
    return [f"Scores that nearly tie, and may change places on another device: of {number}."]


def _applied(applied: dict[str, Any]) -> list[str]:
    """What was done to the features or their ranking."""
    words = ["the mean of each test camera subtracted"] if "camera_means" in applied else []
    if one := applied.get("expansion"):
        sides = "queries and gallery" if one["side"] == "both" else "queries"
        settings = f"k {one['k']}" + (f", alpha {one['alpha']:g}" if "alpha" in one else "")
        words.append(f"{sides} expanded ({one['kind']}, {settings})")
    if one := applied.get("reranking"):
        words.append(f"re-ranked (k1 {one['k1']}, k2 {one['k2']}, lambda {one['lambda']:g})")
    return words


def _sides(result: dict[str, Any], one: str) -> str:
    """What was looked for in what: ``320 queries of rgb, 320 gallery samples of nir and tir``."""
    queries, gallery = f"{result['queries']['total']:,} queries", f"{result['gallery']['total']:,} gallery {one}s"
    if "image_to_text" in result:
        queries = f"{result['queries']['total']:,} captions as queries"
    if "modalities" not in result:
        return f"{queries}, {gallery}"
    query_has, gallery_has = (and_list(result["modalities"][side]) for side in ("query", "gallery"))
    if query_has == gallery_has:
        return f"{queries}, {gallery}, of {query_has}"
    return f"{queries} of {query_has}, {gallery} of {gallery_has}"


def and_list(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), words[-1]])


def training_summary(result: dict[str, Any]) -> Table:
    """What a training left."""
    metrics, start = result["metrics"], result.get("start", {})
    rows = [
        ("delta", f"{result['delta']}  ({format_bytes(result['bytes'])})"),
        ("trained", f"{result['parameters']['trainable']:,} parameters in {result['seconds']:,.0f} s"),
    ]
    if metrics:
        before = f", mAP {100 * start['validation mAP']:.1f} before" if "validation mAP" in start else ""
        rows.append(
            (
                "validation",
                f"rank-1 {100 * metrics['rank-1']:.1f}, mAP {100 * metrics['mAP']:.1f} "
                f"(epoch {metrics['epoch']}, {metrics['protocol']}{before})",
            )
        )
    return pairs(rows)


def embed_summary(result: dict[str, Any]) -> Table:
    """What ``embed`` wrote."""
    count, width = result["shape"]
    rows = [
        ("features", f"{result['output']}  ({count:,} × {width:,}, {format_bytes(4 * count * width)})"),
        ("table", result["table"]),
        ("of", f"{backbone_name(result['backbone'])}, {names_of([result])[0]}"),
    ]
    return pairs(rows)


def visible(text: str) -> str:
    """``text`` with what a terminal would act on or could not show (control characters, bytes of a foreign file name)
    written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class Fitting:
    """A table where it has ``width`` columns, else something narrower; Rich alone would cut columns off."""

    def __init__(self, table: Table, width: int, narrow: RenderableType) -> None:
        self.table, self.width, self.narrow = table, width, narrow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.table if self.width <= options.max_width else self.narrow


def pairs(rows: Sequence[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=max(len(name) for name, _ in rows))
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name, "bold"), Text(visible(value)))
    return table


def names_of(results: Sequence[dict[str, Any]]) -> list[str]:
    """``method (run folder or file)`` of each result; whole paths where names alone would be confused. Of features from
    files, these."""
    deltas = [result["delta"] for result in results]
    paths = {Path(delta["path"]) for delta in deltas if delta is not None}
    short = Counter(_short(path) for path in paths)
    names = []
    for result, delta in zip(results, deltas, strict=True):
        if "features" in result:
            files = dict.fromkeys(Path(result["features"][side]).name for side in ("query", "gallery"))
            names.append(f"features ({', '.join(files)})")
            continue
        if delta is None:
            names.append("none (zero-shot)")
            continue
        path = Path(delta["path"])
        names.append(f"{delta['method']} ({path if short[_short(path)] > 1 else _short(path)})")
    return names


def backbone_name(backbone: dict[str, Any] | None) -> str:
    return "–" if backbone is None else f"{backbone['name']} {Path(backbone['pretrained']).name}"


def _short(file: Path) -> str:
    """The run folder's or the file's own name."""
    return file.parent.name if file.name in DELTA_FILES and file.parent.name else file.name
