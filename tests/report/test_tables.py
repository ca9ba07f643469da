from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from reidtune.report.tables import format_bytes, metrics_table, obtained, plan_table, training_summary, visible


def result(**changes):
    """What ``evaluate --json`` prints."""
    return {
        "schema": 1,
        "task": "image",
        "layout": "market1501",
        "protocol": "cross-camera",
        "tie_rule": "stable: equal scores keep gallery order",
        "metrics": {"rank-1": 0.95432, "rank-5": 1.0, "rank-10": 1.0, "rank-20": 1.0, "mAP": 0.8877, "mINP": 0.0499},
        "queries": {"total": 3368, "skipped": 0},
        "gallery": {"total": 15913, "ignored": 0},
        "backbone": {"name": "ViT-B-16", "pretrained": "openai", "fingerprint": "f"},
        "delta": {"path": "runs/harbour/delta.safetensors", "method": "lora", "digest": "d"},
        **changes,
    }


def render(table, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    lines = out.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return lines


LONG = {
    "delta": {"path": "runs/a-rather-long-name-of-a-folder-of-2026/delta.safetensors", "method": "prompt-decoupling"},
    "backbone": {"name": "ViT-SO400M-16-SigLIP2-384", "pretrained": "some_file_name_of_weights.pt", "fingerprint": "f"},
}


def words(lines):
    return " ".join(" ".join(lines).split())


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


def test_every_table_says_how_its_numbers_were_obtained():
    changed = result(queries={"total": 3368, "skipped": 12}, gallery={"total": 15913, "ignored": 3819})
    text = words(render(metrics_table([changed])))
    assert "market1501, cross-camera: 3,368 queries, 15,913 gallery images" in text
    assert "3,819 junk images left out" in text
    assert "12 queries skipped for want of a positive" in text
    assert "Ties are stable: equal scores keep gallery order." in text
    plain = words(render(metrics_table([result()])))
    assert "junk" not in plain
    assert "skipped" not in plain


def test_ties_that_matter_are_said():
    ties = {"queries": 3, "worst": {"mAP": 0.8821}, "best": {"mAP": 0.8904}}
    text = words(render(metrics_table([result(ties=ties)])))
    assert "Ties are stable: equal scores keep gallery order; 3 queries have some, and other rules give 88.2 to" in text
    assert "to 89.0 mAP." in text
    ties = {"queries": 1, "worst": {"mAP": 0.88701}, "best": {"mAP": 0.88703}}
    assert "gallery order." in words(render(metrics_table([result(ties=ties)])))


def test_near_ties_are_said_once_for_all_rows():
    def said(*facts):
        return words(render(metrics_table([result(**one) for one in facts])))

    ties = {"queries": 3, "worst": {"mAP": 0.8821}, "best": {"mAP": 0.8904}}
    assert said({"ties": ties, "near_ties": 5}).endswith("may change places on another device: of 2 queries.")
    assert said({"near_ties": 1}).endswith("of 1 query.")
    both = said({"near_ties": 4}, {"near_ties": 9})
    assert both.endswith("of up to 9 queries.") and "[2]" not in both
    for plain in ({}, {"ties": ties}, {"ties": ties, "near_ties": 3}):
        assert "nearly" not in said(plain)


def test_skipped_queries_are_named():
    one = obtained(result(queries={"total": 9, "skipped": 1}, skipped_examples=["a.jpg"]))
    assert "1 query skipped for want of a positive (a.jpg)." in one
    many = obtained(result(queries={"total": 9, "skipped": 5}, skipped_examples=["a.jpg", "b.jpg", "c.jpg"]))
    assert "5 queries skipped for want of a positive (a.jpg, b.jpg, c.jpg, …)." in many


def test_several_deltas_share_one_sentence_and_another_protocol_gets_its_own():
    zero_shot = result(delta=None)
    text = words(render(metrics_table([zero_shot, result()])))
    assert text.count("Ties are") == 1
    assert "[1]" not in text
    text = words(render(metrics_table([zero_shot, result(protocol="all"), zero_shot])))
    assert text.count("Ties are") == 2
    assert text.count("none (zero-shot) [1]") == 2
    assert "lora (harbour) [2]" in text
    assert "[1] market1501, cross-camera:" in text
    assert "[2] market1501, all:" in text


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


MEMORY = {
    "activation_bytes_per_image": 43_000_000,
    "activation_bytes_per_batch": 2_752_000_000,
    "peak_bytes": 5_100_000_000,
    "recomputed_blocks": 0,
    "micro_batch": None,
    "processes": 1,
    "batch": 64,
}


def test_plan_says_what_would_be_trained():
    plan = {
        "data": {
            "task": "image",
            "training": {"images": 11000, "identities": 640},
            "validation": {"images": 1936, "identities": 111, "protocol": "cross-camera"},
        },
        "memory": MEMORY,
        "frozen": {"applies": False},
        "steps": {"total": 10300, "per_epoch": 171},
        "parameters": {"trainable": 294_912, "backbone": 86_192_640},
        "bytes": 1_181_000,
    }
    text = words(render(plan_table(plan)))
    for part in ("11,000 images of 640 identities", "1,936 images of 111 other", "1.2 MB"):
        assert part in text
    for part in ("10,300 (171 an epoch)", "294,912 parameters, 0.34 %", "43.0 MB an image, 2.8 GB a batch (counted)"):
        assert part in text
    assert "memory 5.1 GB at the most (expected)" in text and "computed once" not in text
    plan["memory"] = {**MEMORY, "recomputed_blocks": 4, "micro_batch": 16}
    plan["frozen"] = {
        "applies": True,
        "features": False,
        "blocks_skipped": 8,
        "blocks": 12,
        "forward_flops_share": 0.66,
        "images": 11000,
        "bytes": 2_200_000_000,
    }
    text = words(render(plan_table(plan)))
    assert "2.8 GB for 16 at once (counted), 4 blocks computed again" in text
    assert "computed once 8 of 12 blocks of 11,000 images, 66 % of the image tower's forward FLOPs, 2.2 GB kept" in text
    plan["data"]["validation"] = {"images": 0, "identities": 0, "protocol": "cross-camera"}
    assert "validate on nothing" in words(render(plan_table(plan)))
    plan["memory"] = {**MEMORY, "recomputed_blocks": 1, "micro_batch": 100, "processes": 2, "batch": 32}
    text = words(render(plan_table(plan)))
    assert "2.8 GB for 32 of a batch (counted), 1 block computed again" in text  # 100 are more than there are
    assert "memory 5.1 GB at the most in each of 2 processes (expected)" in text


@pytest.mark.parametrize(
    ("task", "training", "said"),
    [
        ("text", {"captions": 416, "identities": 52}, ("416 captions of 52", "32 images of 8 others", "B a pair, ")),
        ("multimodal", {"images": 432, "identities": 48}, ("432 samples of 48", "32 samples of 8", "B a sample, ")),
    ],
)
def test_plan_of_other_data(task, training, said):
    validation = {"images": 32, "identities": 8, "protocol": "cross-camera"}
    plan = {
        "data": {"task": task, "training": training, "validation": validation},
        "memory": MEMORY,
        "frozen": {"applies": False},
        "steps": {"total": 10300, "per_epoch": 171},
        "parameters": {"trainable": 294_912, "backbone": 86_192_640},
        "bytes": 1_181_000,
    }
    text = words(render(plan_table(plan)))
    assert all(part in text for part in said)


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


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (123_456, "123 kB"),
        (99_960, "100 kB"),
        (999_700, "1.0 MB"),
        (1_181_000, "1.2 MB"),
        (7_340_000_000, "7.3 GB"),
        (12_345_000_000_000, "12,345 GB"),
    ],
)
def test_bytes_in_powers_of_ten(count, text):
    assert format_bytes(count) == text


def test_importing_the_tables_loads_neither_rich_nor_torch():
    code = "import sys, reidtune.report.tables; sys.exit(bool({'rich', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def text_result(**changes):
    back = {name: value / 2 for name, value in result()["metrics"].items()}
    return result(
        task="text",
        layout="cuhk-pedes",
        protocol="cross-modality",
        queries={"total": 6156, "skipped": 0},
        gallery={"total": 3074, "ignored": 0},
        image_to_text={
            "metrics": back,
            "queries": {"total": 3074, "skipped": 0},
            "gallery": {"total": 6156, "ignored": 0},
        },
        **changes,
    )


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


def test_images_without_a_caption_to_find_are_counted():
    changed = text_result()
    changed["image_to_text"]["queries"]["skipped"] = 3
    assert "image to text, 3 of 3,074 images skipped." in obtained(changed)
    assert "skipped" not in obtained(text_result())


def samples(query, gallery, **changes):
    return result(
        layout="rgbnt201",
        task="multimodal",
        modalities={"query": query, "gallery": gallery},
        queries={"total": 836, "skipped": 0},
        gallery={"total": 835, "ignored": 0},
        **changes,
    )


def test_samples_of_several_modalities_are_counted_as_samples():
    names = ["rgb", "nir", "tir"]
    assert obtained(samples(names, names)).startswith(
        "rgbnt201, cross-camera: 836 queries, 835 gallery samples, of rgb, nir and tir. Metrics in percent."
    )
    assert "836 queries of rgb, 835 gallery samples of nir and tir." in obtained(samples(["rgb"], ["nir", "tir"]))
    plain = obtained(samples(["nir"], ["nir"]) | {"task": "image"})
    assert "836 queries, 835 gallery images, of nir." in plain


def test_samples_without_the_modalities_are_counted():
    names = ["rgb"]
    both = obtained(samples(names, names, left_out={"query": 2, "gallery": 1}))
    assert "of rgb; 2 queries and 1 gallery sample left out for want of these modalities." in both
    one = obtained(samples(names, names, left_out={"query": 0, "gallery": 1_040}))
    assert "of rgb; 1,040 gallery samples left out for want of these modalities." in one
    assert "left out" not in obtained(samples(names, names, left_out={"query": 0, "gallery": 0}))
    junk = samples(names, names) | {"gallery": {"total": 9, "ignored": 3}}
    assert "3 junk samples left out" in obtained(junk)


def test_a_mean_of_draws_has_its_deviation_beside_it():
    deviation = {"rank-1": 0.00432, "rank-5": 0, "rank-10": 0, "mAP": 0.1234, "mINP": 0.001}
    several = result(layout="vehicleid", protocol="random-gallery", draws=10, deviation=deviation, delta=None)
    lines = render(metrics_table([several]))
    row = next(line for line in lines if "none" in line)
    assert row.split("  ")[1:] == ["95.4 ± 0.4", "100.0 ± 0.0", "100.0 ± 0.0", "88.8 ± 12.3", "5.0 ± 0.1"]
    assert "mean ± standard deviation of 10 draws of the gallery." in words(lines)
    beside = render(metrics_table([several, result()]), width=100)
    assert next(line for line in beside if "harbour" in line).split()[-5:] == ["95.4", "100.0", "100.0", "88.8", "5.0"]
