"""Tables of metrics at every width, and the small tables beside them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reidtune.report.tables import metrics_table, training_summary, visible
from tests.report.evaluated import render, result, text_result, words

LONG = {
    "delta": {"path": "runs/a-rather-long-name-of-a-folder-of-2026/delta.safetensors", "method": "prompt-decoupling"},
    "backbone": {"name": "ViT-SO400M-16-SigLIP2-384", "pretrained": "some_file_name_of_weights.pt", "fingerprint": "f"},
}


def test_metrics_are_percent_with_one_decimal():
    lines = render(metrics_table([result()]))
    heading = next(line for line in lines if "rank-1" in line)
    row = next(line for line in lines if "harbour" in line)
    assert heading.split() == ["delta", "rank-1", "rank-5", "rank-10", "mAP", "mINP"]
    assert row.split() == ["lora", "(harbour)", "95.4", "100.0", "100.0", "88.8", "5.0"]
    assert "Backbone: ViT-B-16 openai." in lines


def test_numbers_stand_below_their_headings():
    lines = render(metrics_table([result(delta=None), result()]))
    heading = next(line for line in lines if "rank-1" in line)
    for name in ("none (zero-shot)", "lora (harbour)"):
        row = next(line for line in lines if name in line)
        for metric, number in (("rank-1", "95.4"), ("rank-10", "100.0"), ("mINP", "5.0")):
            end = heading.index(metric + " ") + len(metric) if metric != "mINP" else len(heading)
            assert row[:end].endswith(number)


def test_backbones_that_differ_get_a_column():
    other = {"name": "ViT-L-14", "pretrained": "weights/mine.pt", "fingerprint": "g"}
    lines = render(metrics_table([result(), result(backbone=other)]))
    assert next(line for line in lines if "rank-1" in line).split()[:2] == ["delta", "backbone"]
    assert any("ViT-B-16 openai" in line and "95.4" in line for line in lines)
    assert any("ViT-L-14 mine.pt" in line and "95.4" in line for line in lines)
    assert "Backbone:" not in words(lines)


@pytest.mark.parametrize("width", [20, 40, 50, 60, 80, 120, 200])
def test_nothing_is_cut_off_at_any_width(width):
    # Folding puts line ends and other columns between the letters of a name, so letters are compared in their column.
    results = [result(), result(**LONG), result(delta=None)]
    lines = render(metrics_table(results), width=width)
    text = words(lines)
    for number, times in (("95.4", 3), ("88.8", 3), ("5.0", 3), ("100.0", 6)):
        assert text.split().count(number) + text.split().count(f"{number},") == times, number
    assert text.count("…") == 0
    if any("rank-5" in line and "backbone" in line for line in lines):
        heading = next(line for line in lines if "backbone" in line)
        start, end = heading.index("backbone"), heading.index("rank-1")
        columns = (slice(0, start), slice(start, end - 1))
    else:
        columns = (slice(None), slice(None))
    for column, parts in zip(
        columns,
        (["prompt-decoupling", LONG["delta"]["path"].split("/")[1]], list(LONG["backbone"].values())[:2]),
        strict=True,
    ):
        letters = "".join("".join(line[column].split()) for line in lines)
        for part in parts:
            assert part in letters


@pytest.mark.parametrize("width", [68, 80, 120])
def test_long_names_are_folded_beside_their_numbers(width):
    lines = render(metrics_table([result(), result(**LONG)]), width=width)
    row = next(line for line in lines if line.startswith("prompt-deco"))
    assert row.split()[-5:] == ["95.4", "100.0", "100.0", "88.8", "5.0"]
    assert "ViT-SO400M" in row
    heading = next(line for line in lines if "rank-1" in line).rstrip()
    assert heading.endswith("mINP")


def test_a_narrow_terminal_gets_the_numbers_below_the_name():
    lines = render(metrics_table([result(), result(delta=None)]), width=44)
    assert lines[0] == "lora (harbour)"
    assert words(lines[1:3]) == "rank-1 95.4, rank-5 100.0, rank-10 100.0, mAP 88.8, mINP 5.0"
    assert lines[3] == "none (zero-shot)"


def test_runs_of_one_name_are_told_apart():
    paths = [
        "one/lora/delta.safetensors",
        "two/lora/best.safetensors",
        "three/vpt/delta.safetensors",
        "alone.safetensors",
    ]
    lines = render(metrics_table([result(delta={"path": path, "method": "lora"}) for path in paths]), width=120)
    text = words(lines)
    for name in ("lora (one/lora/delta.safetensors)", "lora (two/lora/best.safetensors)"):
        assert name in text
    for name in ("lora (vpt)", "lora (alone.safetensors)"):
        assert name in text


def test_names_are_not_markup():
    tricky = result(delta={"path": "[red]run.safetensors", "method": "lora"}, layout="[bold]table")
    text = words(render(metrics_table([tricky]), width=120))
    assert "[red]run.safetensors" in text
    assert "[bold]table" in text


def test_foreign_names_cannot_act_on_the_terminal():
    nasty = {"name": "ViT\x1b[2J", "pretrained": "a\nb", "fingerprint": "f"}
    bytes_of_latin1 = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    table = metrics_table(
        [result(backbone=nasty, queries={"total": 9, "skipped": 1}, skipped_examples=[bytes_of_latin1])]
    )
    text = words(render(table, width=200))
    assert "Backbone: ViT\\x1b[2J a\\nb." in text
    assert "caf\\udce9.jpg" in text
    text.encode("utf-8")
    assert visible("né – 虎 [b]") == "né – 虎 [b]"


def test_text_data_has_a_row_for_each_direction():
    lines = render(metrics_table([text_result(), text_result(delta=None)]))
    assert lines[0].split() == ["delta", "ranking", "rank-1", "rank-5", "rank-10", "mAP", "mINP"]
    assert lines[2].split() == ["lora", "(harbour)", "text", "to", "image", "95.4", "100.0", "100.0", "88.8", "5.0"]
    assert lines[3].split() == ["image", "to", "text", "47.7", "50.0", "50.0", "44.4", "2.5"]
    assert lines[4].startswith("none (zero-shot)")
    assert lines[3].index("image") == lines[2].index("text")  # below each other
    assert "cuhk-pedes, cross-modality: 6,156 captions as queries, 3,074 gallery images." in words(lines)


def test_directions_are_named_on_a_narrow_terminal_and_beside_image_results():
    lines = render(metrics_table([text_result()]), width=44)
    assert lines[0] == "lora (harbour)"
    assert words(lines[1:5]) == (
        "text to image: rank-1 95.4, rank-5 100.0, rank-10 100.0, mAP 88.8, mINP 5.0 "
        "image to text: rank-1 47.7, rank-5 50.0, rank-10 50.0, mAP 44.4, mINP 2.5"
    )
    both = render(metrics_table([text_result(), result()]))
    assert "image to image" in both[4] and "95.4" in both[4]


@pytest.mark.parametrize("width", [60, 80, 81, 120])
def test_no_number_of_a_direction_is_cut_off(width):
    results = [text_result(backbone=LONG["backbone"]), result(**{**LONG, "backbone": result()["backbone"]})]
    text = words(render(metrics_table(results), width=width)).replace(",", " ").split()
    for number, times in (("95.4", 2), ("47.7", 1), ("5.0", 2), ("2.5", 1), ("mINP", 3 if width < 81 else 1)):
        assert text.count(number) == times, number


def test_a_mean_of_draws_has_its_deviation_beside_it():
    deviation = {"rank-1": 0.00432, "rank-5": 0, "rank-10": 0, "mAP": 0.1234, "mINP": 0.001}
    several = result(layout="vehicleid", protocol="random-gallery", draws=10, deviation=deviation, delta=None)
    lines = render(metrics_table([several]))
    row = next(line for line in lines if "none" in line)
    assert row.split("  ")[1:] == ["95.4 ± 0.4", "100.0 ± 0.0", "100.0 ± 0.0", "88.8 ± 12.3", "5.0 ± 0.1"]
    assert "mean ± standard deviation of 10 draws of the gallery." in words(lines)
    beside = render(metrics_table([several, result()]), width=100)
    assert next(line for line in beside if "harbour" in line).split()[-5:] == ["95.4", "100.0", "100.0", "88.8", "5.0"]


def test_training_summary_gives_the_gain():
    summary = {
        "delta": "run/delta.safetensors",
        "bytes": 1_181_000,
        "parameters": {"trainable": 294_912, "backbone": 86_192_640},
        "seconds": 1234.4,
        "metrics": {"rank-1": 0.9, "mAP": 0.8001, "epoch": 7, "protocol": "cross-camera"},
        "start": {"validation mAP": 0.25},
    }
    text = words(render(training_summary(summary)))
    assert "run/delta.safetensors (1.2 MB)" in text
    assert "294,912 parameters in 1,234 s" in text
    assert "rank-1 90.0, mAP 80.0 (epoch 7, cross-camera, mAP 25.0 before)" in text
    assert "validation" not in words(render(training_summary({**summary, "metrics": {}})))
    assert "before" not in words(render(training_summary({**summary, "start": {}})))
    long = {**summary, "delta": "runs/[red]/" + 30 * "ab-" + "/delta.safetensors"}
    assert long["delta"] in "".join(line[12:].strip() for line in render(training_summary(long), width=40))


def test_importing_the_tables_loads_neither_rich_nor_torch():
    code = "import sys, reidtune.report.tables; sys.exit(bool({'rich', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
