from __future__ import annotations

import io

import pytest
from rich.console import Console

from reidtune.report.survey_tables import refusal, survey_report, took, verdict
from reidtune.surveying import survey


@pytest.fixture(scope="module")
def result(small_world):
    return survey(small_world)


def printed(result, width=100):
    stream = io.StringIO()
    Console(file=stream, width=width).print(survey_report(result))
    return stream.getvalue()


def with_verdict(result, trainable, evaluable, errors=0, warnings=0, findings=()):
    found = {"trainable": trainable, "evaluable": evaluable, "errors": errors, "warnings": warnings}
    return {**result, "verdict": found, "findings": list(findings)}


def finding(level, sentence, count=1, hint="Do this.", examples=()):
    return {"level": level, "kind": "x", "count": count, "sentence": sentence, "hint": hint, "examples": list(examples)}


def test_counts_stand_in_a_row_a_split(result):
    lines = printed(result).splitlines()
    assert lines[0].split() == ["split", "identities", "images", "cameras", "an", "identity", "with", "one"]
    train = result["splits"]["train"]
    assert lines[2].split()[:4] == ["train", str(train["identities"]), str(train["samples"]), str(train["cameras"])]
    assert [line.split()[0] for line in lines[2:5]] == ["train", "query", "gallery"]


@pytest.mark.parametrize("width", [40, 30])
def test_on_a_narrow_terminal_nothing_is_cut(result, width):
    text = printed(result, width)
    assert max(map(len, text.splitlines())) <= width
    assert " ".join(text.split()).startswith(f"train: identities {result['splits']['train']['identities']}, images")


def test_sizes_say_range_and_what_squashing_does(result):
    text = " ".join(printed(result).split())
    sizes = result["splits"]["train"]["sizes"]
    assert f"train: {sizes['different']} sizes, {sizes['width']['min']}–{sizes['width']['max']}×" in text
    assert f"squashed to 256x128 {sizes['squashed']['enlarged']:.1f} times the size" in text


def test_splits_of_the_same_sizes_share_a_line(result):
    same = {name: {**split, "sizes": result["splits"]["train"]["sizes"]} for name, split in result["splits"].items()}
    assert "train, query and gallery: " in printed({**result, "splits": same})


def test_findings_have_a_level_some_examples_and_what_to_do(result):
    findings = [finding("error", "All is lost.", 9, examples=["a\x1b.png"]), finding("fact", "Good.", 1, "", ["b.png"])]
    lines = [line.strip() for line in printed(with_verdict(result, False, True, 1, 0, findings)).splitlines()]
    place = lines.index("error    All is lost.")
    assert lines[place + 1 : place + 6] == ["a\\x1b.png", "…", "→ Do this.", "fact     Good.", "b.png"]


@pytest.mark.parametrize(
    ("able", "words"),
    [
        ((True, True), "Can be trained on and evaluated: 1 error, no warnings."),
        ((True, False), "Can be trained on, not evaluated: 1 error, no warnings."),
        ((False, True), "Can be evaluated, not trained on: 1 error, no warnings."),
        ((False, False), "Can neither be trained on nor evaluated: 1 error, no warnings."),
    ],
)
def test_the_verdict_says_what_can_be_done(result, able, words):
    assert verdict(with_verdict(result, *able, errors=1)) == words


def test_a_refusal_names_the_errors_alone(result):
    findings = [finding("error", "One."), finding("error", "Two."), finding("warning", "Three.")]
    told = refusal(with_verdict({**result, "data": "x"}, False, False, 2, 1, findings))
    assert told == '"x" cannot be trained on or evaluated as it is:\n  One.\n  Two.'


def test_it_says_how_many_and_how_long(result):
    quick = {**result, "quick": True, "seconds": {"list": 1.0, "headers": 0.26}}
    assert took(quick).startswith(f"{result['files']['total']:,} files, ")
    assert took(quick).endswith("looked at in 1.3 s: headers only, nothing decoded (--quick).")
    assert f"{result['files']['decoded']:,} decoded" in took(result)


def test_captions_are_told(result):
    spread = {"min": 1, "median": 2, "max": 2}
    captions = {"captions": 3, "per_image": spread, "words": spread, "tokens": spread, "limit": 77}
    text = " ".join(printed({**result, "captions": captions}).split())
    assert "captions: 1 / 2 / 2 an image, 1 / 2 / 2 words, 1 / 2 / 2 tokens of the 77 that CLIP reads." in text
