from __future__ import annotations

from pathlib import Path

from reidtune.data.findings import ERROR, FACT, WARNING, Finding, below, counted, in_order, some


def test_errors_come_first_and_the_order_within_a_level_stays():
    findings = [Finding(level, str(place), 1, "") for place, level in enumerate((FACT, WARNING, ERROR, WARNING))]
    assert [finding.kind for finding in in_order(findings)] == ["2", "1", "3", "0"]


def test_examples_are_few_and_printable():
    assert some(f"{number}\n" for number in range(9)) == [f"{number}\\n" for number in range(5)]
    assert some([]) == []


def test_words():
    assert [counted(1, "image"), counted(1234, "image"), counted(0, "query", "queries")] == [
        "1 image",
        "1,234 images",
        "0 queries",
    ]
    assert below(Path("/data/a/b.png"), Path("/data")) == "a/b.png"
    assert below(Path("/other/b.png"), Path("/data")) == "/other/b.png"
