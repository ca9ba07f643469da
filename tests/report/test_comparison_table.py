"""A comparison on terminals of all widths."""

import io

import pytest
from rich.console import Console

from reidtune.report.comparison_table import comparison_table
from tests.report.compared import EVIL, compared


def printed(content, width):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(comparison_table(content))
    return console.file.getvalue()


def test_it_is_a_table_of_eighty_columns():
    lines = printed(compared(), 80).splitlines()
    assert max(map(len, lines)) <= 80
    head = next(line for line in lines if line.startswith("method"))
    assert head.split() == ["method", "mAP", "gain", "rank-1", "trainable", "delta", "kept", "/", "s"]
    row = next(line for line in lines if line.startswith("adapter"))
    assert row.split("  ")[-1] and "49.0 ± 1.4" in row and "32,768*" in row
    other = next(line for line in lines if line.startswith("vpt"))
    assert row.index("32,768") == other.index("49,152")  # the marks do not shift the numbers


@pytest.mark.parametrize("width", [30, 50])
def test_on_a_narrow_terminal_nothing_is_cut_off(width):
    text = printed(compared(), width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    for part in ("adapter mAP 49.0 ± 1.4, gain +19.0", "trainable 32,768*", "images/s 80.0"):
        assert part in words


def test_on_a_narrow_terminal_what_is_not_known_is_left_out():
    text = printed(compared(failed=("vpt",)), 50)
    assert "–" not in text.partition("Budget")[0]
    assert "zero-shot\n  mAP 30.0, rank-1 35.0, trainable 0\n" in text
    assert "vpt (failed)\n  trainable 49,152" in text


def test_every_row_and_note_is_there_and_acts_on_nothing():
    text = printed(compared({"lora": (0.4, 0.5), EVIL: (0.3, 0.3)}, failed=("lora",)), 200)
    assert "lora (failed)" in text and "The loss became nan." in text
    assert "\x1b" not in text and "\\x1b[31m" in text


def test_further_datasets_have_tables_of_their_own():
    text = printed(compared(names=("world", "[bold]other")), 100)
    assert "On [bold]other" in text
    assert "59.0 ± 1.4" in text
