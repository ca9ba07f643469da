"""The table of missing modalities."""

from __future__ import annotations

import io
import subprocess
import sys
from itertools import combinations

import pytest
from rich.console import Console

from reidtune.report.matrix import matrix_tables


def result(*names, delta=None, **changes):
    """What ``evaluate --json`` prints with ``--matrix``: mAP counts the rows in percent, rank-1 the columns."""
    subsets = [list(one) for size in range(1, len(names) + 1) for one in combinations(names, size)]
    cells = [
        {
            "query": query,
            "gallery": gallery,
            "metrics": {"mAP": (10 + row) / 100, "rank-1": (50 + column) / 100},
            "queries": {"total": 9, "skipped": 0},
            "left_out": {"query": 0, "gallery": 0},
        }
        for row, query in enumerate(subsets)
        for column, gallery in enumerate(subsets)
    ]
    for place, change in changes.items():
        cells[int(place.removeprefix("cell"))].update(change)
    return {"delta": delta, "matrix": cells}


def render(*results, width=100):
    out = io.StringIO()
    Console(file=out, width=width).print(matrix_tables(results))
    lines = out.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return lines


def test_rows_are_what_the_query_has_and_columns_what_the_gallery_has():
    lines = render(result("rgb", "nir"))
    title = lines.index("mAP of none (zero-shot). Rows: what the query has; columns: what the gallery has.")
    table = lines[title + 2 : title + 8]
    assert [line.split() for line in table] == [
        ["rgb", "rgb"],
        ["nir", "nir"],
        ["─" * len(table[2])],
        ["rgb", "10.0", "10.0", "10.0"],
        ["nir", "11.0", "11.0", "11.0"],
        ["rgb", "nir", "12.0", "12.0", "12.0"],
    ]
    # A name stands in its own place, in rows and in columns: the numbers' last letters are below the names'.
    assert table[4].index("nir") == table[5].index("nir") == 4
    ends = [place for place in range(len(table[3])) if table[3][: place + 1].endswith("10.0")]
    assert [table[0].ljust(99)[end - 2 : end + 1].strip() for end in ends] == ["rgb", "", "rgb"]
    assert [table[1].ljust(99)[end - 2 : end + 1].strip() for end in ends] == ["", "nir", "nir"]
    second = lines[title + 9 :]
    assert second[0].startswith("rank-1 of none")
    assert second[5].split() == ["rgb", "50.0", "51.0", "52.0"]


def test_four_modalities_fit_in_100_columns():
    lines = render(result("rgb", "nir", "tir", "lwir"))
    rows = [line.split() for line in lines if line[:20].strip() and line[0] in "rn " and line.strip()[-1].isdigit()]
    assert len(rows) == 30
    assert all(sum(word[0].isdigit() for word in row) == 15 for row in rows)


@pytest.mark.parametrize("width", [30, 50, 60, 80, 120])
def test_no_number_is_lost_at_any_width(width):
    words = " ".join(render(result("rgb", "nir", "tir"), width=width)).replace(",", " ").split()
    for row in range(7):
        assert words.count(f"{10 + row}.0") == 7
        assert words.count(f"{50 + row}.0") == 7


def test_a_narrow_terminal_gets_a_line_a_row():
    lines = render(result("rgb", "nir"), width=60)
    assert not any(line.startswith("rgb:") for line in lines)
    narrow = render(result("rgb", "near-infrared"), width=44)
    assert "rgb: rgb 10.0, near-infrared 10.0," in [line.strip() for line in narrow]


def test_what_cannot_be_scored_and_what_is_left_out_is_said():
    nothing = {"metrics": None, "left_out": {"query": 3, "gallery": 1_200}}
    lines = render(result("rgb", "nir", cell1=nothing))
    assert next(line for line in lines if line.startswith("rgb") and "–" in line).split() == [
        "rgb",
        "10.0",
        "–",
        "10.0",
    ]
    assert "–: no query could be scored." in lines
    assert "Samples that have none of a subset are left out there: up to 1,200 of a side." in lines
    assert not any("left out" in line or "–:" in line for line in render(result("rgb", "nir")))


def test_a_hundred_percent_has_no_decimal():
    perfect = {"metrics": {"mAP": 0.9996, "rank-1": 1.0}}
    row = next(line for line in render(result("rgb", "nir", cell0=perfect)) if line.startswith("rgb  "))
    assert row.split() == ["rgb", "100", "10.0", "10.0"]


def test_each_delta_has_its_tables_and_results_without_a_matrix_none():
    delta = {"path": "runs/harbour/delta.safetensors", "method": "[red]dmpt"}
    plain = {"delta": None}
    lines = render(result("rgb", "nir"), plain, result("rgb", "nir", delta=delta))
    titles = [line.split(".")[0] for line in lines if "Rows:" in line]
    assert titles == [
        "mAP of none (zero-shot)",
        "rank-1 of none (zero-shot)",
        "mAP of [red]dmpt (harbour)",
        "rank-1 of [red]dmpt (harbour)",
    ]
    assert render(plain) == []


def test_foreign_names_cannot_act_on_the_terminal():
    text = "\n".join(render(result("rgb", "a\x1b[2J", delta={"path": "x\x07/delta.safetensors", "method": "lora"})))
    assert "\x1b" not in text and "\x07" not in text
    assert "a\\x1b[2J" in text


def test_importing_the_matrix_loads_neither_rich_nor_torch():
    code = "import sys, reidtune.report.matrix; sys.exit(bool({'rich', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
