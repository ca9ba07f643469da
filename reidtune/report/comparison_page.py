"""A comparison as one HTML page: the table, the four plots, and every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reidtune import __version__
from reidtune.report.comparison_cells import MARK, also_of, cells_of, headings_of, notes_of
from reidtune.report.comparison_picture import CORNERS, LABEL_SIZE, measure_label
from reidtune.report.comparison_plot import COLOURS, FRAME, HEIGHT, RADIUS, WIDTH, Panel, looks, panels_of
from reidtune.report.html import document, text_of
from reidtune.units import percent

# The colours of the plots on a dark page, in the same order.
_DARK = ("#6cb6ff", "#ff9d5c", "#4fd1a5", "#e59ad0", "#e0bc45", "#a9a2ff", "#ff8f98", "#a3d65c", "#5fd0e6", "#c9b49f")
_WIDER = 1.15  # names in the fonts of most readers are up to this much wider than in the picture's

_STYLE = """
body { max-width: 74rem; }
main { display: grid; gap: 1rem; margin: 1.25rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .4rem; }
svg { display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }
.table { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 8rem; }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--line); }
tr + tr td { border-top: 1px solid var(--line); }
tbody tr:hover { background: var(--paper); }
td.front { font-weight: 700; }
td svg { display: inline-block; width: 1em; height: 1em; margin-right: .5em; vertical-align: -.12em; }
details { margin-top: 1.25rem; }
summary { cursor: pointer; color: var(--accent); }
h2 { font-size: 1.05rem; margin: 1.5rem 0 0; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); fill: none; }
.soft { fill: var(--soft); font-size: 11px; } .title { fill: var(--ink); font-size: 12.5px; }
.zero { stroke: var(--soft); stroke-dasharray: 5 4; }
.stairs { stroke: var(--soft); opacity: .55; fill: none; stroke-width: 1.5; }
.halo { paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
.mark text { fill: currentColor; } .mark path, .mark line { stroke: currentColor; fill: none; stroke-width: 1.4; }
.mark .lead { stroke-width: .6; }
.mark .point, td .point { stroke: currentColor; stroke-width: 1.8; fill: var(--card); }
.mark .filled, td .point { fill: currentColor; }
.mark:hover .point { stroke-width: 4; } .mark:hover text { font-weight: 700; }
""".strip()


def comparison_page(content: Mapping[str, Any]) -> str:
    """The page. It follows the reader's light or dark setting; a point says its numbers when the pointer rests on it.
    Everything that comes from outside is escaped, and the page itself forbids scripts and requests."""
    names = ", ".join(content["data"]["names"])
    title = text_of(f"Methods compared on {names}")
    colours = [
        ":root { " + " ".join(f"--c{place}: {colour};" for place, colour in enumerate(palette)) + " }"
        for palette in (COLOURS, _DARK)
    ]
    style = f"{_STYLE}\n{colours[0]}\n@media (prefers-color-scheme: dark) {{ {colours[1]} }}"
    panels = panels_of(content, lambda name: _WIDER * measure_label(name))
    plots = "\n".join(f"<figure>{_svg(panel)}</figure>" for panel in panels)
    backbone = content["backbone"]
    body = f"""<h1>{title}</h1>
<p>Backbone: {text_of(backbone["name"])}, fingerprint {text_of(backbone["fingerprint"][:12])}.</p>
{_main_table(content)}
{"".join(f"<p>{text_of(note)}</p>" for note in notes_of(content))}
<main>
{plots}
</main>
<p>Bars are standard deviations over the seeds. Filled points and the stairs: the Pareto front. Dashed: the backbone
alone.</p>
{_also(content)}{_runs(content)}
<footer><p>Data: {text_of(content["data"]["hash"][:12])}. {text_of(_versions(content))}. Made by reidtune
{__version__}.</p></footer>"""
    return document(title, style, body)


def _main_table(content: Mapping[str, Any]) -> str:
    look = looks(content)
    lines = []
    for place, cells in enumerate(cells_of(content)):
        name = content["rows"][place - 1]["name"] if place else ""
        swatch = _swatch(*look[name]) if place else ""
        first, *others = cells
        numbers = "".join(
            f'<td class="front">{text_of(cell.strip())}</td>'
            if cell.endswith(MARK)
            else f"<td>{text_of(cell.strip())}</td>"
            for cell in others
        )
        lines.append(f"<tr><td>{swatch}{text_of(first)}</td>{numbers}</tr>")
    return _table(headings_of(content), lines)


def _table(headings: Sequence[str], lines: Sequence[str]) -> str:
    head = "".join(f"<th>{text_of(heading)}</th>" for heading in headings)
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(lines)
        + "</tbody></table></div>"
    )


def _plain(rows: Sequence[Sequence[str]]) -> list[str]:
    return ["<tr>" + "".join(f"<td>{text_of(cell)}</td>" for cell in row) + "</tr>" for row in rows]


def _also(content: Mapping[str, Any]) -> str:
    return "".join(
        f"<h2>On {text_of(name)}</h2>{_table(('method', 'mAP', 'rank-1'), _plain(lines))}<p>{text_of(obtained)}</p>\n"
        for name, lines, obtained in also_of(content)
    )


def _runs(content: Mapping[str, Any]) -> str:
    """Every run, folded away."""
    rows = []
    for run in content["runs"]:
        metrics = run["tests"][0]["metrics"] if run["tests"] else {}
        speed = run["images_per_second"]
        rows.append(
            [
                run["run"],
                *(percent(metrics.get(metric)) for metric in ("mAP", "rank-1")),
                percent(run["validation"].get("mAP")),
                "–" if speed is None else f"{speed:,.1f}",
                run["status"],
            ]
        )
    table = _table(("run", "mAP", "rank-1", "validation mAP", headings_of(content)[-1], ""), _plain(rows))
    return f"<details><summary>Every run ({len(rows)})</summary>{table}</details>"


def _versions(content: Mapping[str, Any]) -> str:
    versions = content["environment"]["versions"]
    return ", ".join(f"{name} {version}" for name, version in versions.items() if name != "reidtune")


def _svg(panel: Panel) -> str:
    left, top, right, bottom = FRAME
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="mAP by {text_of(panel.title)}">']
    for y, words in panel.y_ticks:
        parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(_words(left - 7, y, words, "soft", "end"))
    for x, words in panel.x_ticks:
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(_words(x, bottom + 13, words, "soft", "middle"))
    parts.append(f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>')
    parts.append(_words(left - 30, top - 14, "mAP, %", "soft", "start"))
    parts.append(_words((left + right) / 2, bottom + 32, panel.title, "title", "middle"))
    parts.append(f'<path class="zero" d="M{left} {panel.baseline:.1f}H{right}"/>')
    if len(panel.stairs) > 1:
        parts.append(f'<path class="stairs" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in panel.stairs)}"/>')
    parts.append(_words(*panel.baseline_label, "soft halo", "start"))
    for mark in panel.marks:
        drawn = [f'<g class="mark" style="color: {_colour(mark.colour)}"><title>{text_of(mark.told)}</title>']
        if mark.place.tip is not None:
            x, y = mark.place.tip
            drawn.append(f'<line class="lead" x1="{mark.x:.1f}" y1="{mark.y:.1f}" x2="{x:.1f}" y2="{y:.1f}"/>')
        if mark.bar is not None:
            low, high = mark.bar
            ends = "".join(f"M{mark.x - 3:.1f} {y:.1f}h6" for y in mark.bar)
            drawn.append(f'<path d="M{mark.x:.1f} {low:.1f}V{high:.1f}{ends}"/>')
        drawn.append(_point(mark.shape, mark.x, mark.y, RADIUS, mark.front))
        place = mark.place
        drawn.append(_words(place.x, place.y, mark.label, "halo", "middle", f' font-size="{LABEL_SIZE:g}"') + "</g>")
        parts.append("".join(drawn))
    return "\n".join([*parts, "</svg>"])


def _words(x: float, y: float, words: str, style: str, anchor: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" dy=".35em" text-anchor="{anchor}"'
    return f'<text class="{style}" {place}{more}>{text_of(words)}</text>'


def _point(shape: str, x: float, y: float, radius: float, filled: bool) -> str:
    style = "point filled" if filled else "point"
    if shape == "circle":
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'
    corners = " ".join(f"{x + dx * radius:.1f},{y + dy * radius:.1f}" for dx, dy in CORNERS[shape])
    return f'<polygon class="{style}" points="{corners}"/>'


def _swatch(colour: str, shape: str) -> str:
    return f'<svg viewBox="0 0 16 16" style="color: {_colour(colour)}">{_point(shape, 8, 8, 5, True)}</svg>'


def _colour(colour: str) -> str:
    return f"var(--c{COLOURS.index(colour)})"
