"""The tables of many deltas on many datasets."""

import io

from rich.console import Console

from reidtune.report.crossing_tables import crossing_tables


def result(data, mean, delta=None, backbone="tiny", **more):
    return {
        "task": "image",
        "layout": "market1501",
        "protocol": "cross-camera",
        "tie_rule": "stable",
        "metrics": {"mAP": mean, "rank-1": mean / 2},
        "queries": {"total": 9, "skipped": 0},
        "gallery": {"total": 20, "ignored": 0},
        "data": {"name": data},
        "backbone": {"name": backbone, "pretrained": "embedded"},
        "delta": None if delta is None else {"path": f"runs/{delta}/delta.safetensors", "method": "lora"},
        **more,
    }


def render(results, datasets, width=100):
    out = io.StringIO()
    Console(file=out, width=width).print(crossing_tables(results, datasets))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert all(len(line) <= width for line in lines)
    return lines


def test_rows_are_deltas_and_columns_datasets():
    results = [result("market", 0.1), result("msmt", 0.2), result("market", 0.3, "a"), result("msmt", 0.4, "a")]
    lines = render(results, 2)
    place = lines.index("mAP")
    assert [line.split() for line in lines[place + 2 : place + 6]] == [
        ["market", "msmt"],
        ["─" * len(lines[place + 3])],
        ["none", "(zero-shot)", "10.0", "20.0"],
        ["lora", "(a)", "30.0", "40.0"],
    ]
    place = lines.index("rank-1")
    assert lines[place + 5].split() == ["lora", "(a)", "15.0", "20.0"]
    assert "Backbone: tiny embedded." in lines
    assert sum(line.startswith("market: market1501, cross-camera: 9 queries") for line in lines) == 1


def test_datasets_deltas_and_backbones_that_look_alike_are_told_apart():
    results = [
        result("test", 0.1, "a"),
        result("test", 0.2, "a"),
        result("test", 0.3, "a", backbone="other"),
        result("test", 0.4, "a", backbone="other"),
    ]
    lines = render(results, 2)
    assert ["test", "[1]", "test", "[2]"] in [line.split() for line in lines]
    assert any(line.startswith("lora (a), tiny embedded") for line in lines)
    assert any(line.startswith("lora (a), other embedded") for line in lines)


def test_both_directions_of_text_and_a_dash_where_there_is_none():
    back = {"metrics": {"mAP": 0.5, "rank-1": 0.6}, "queries": {"total": 9, "skipped": 0}}
    results = [result("pedes", 0.1, image_to_text=back, task="text"), result("market", 0.2)]
    lines = render(results, 2)
    rows = {
        title: lines[lines.index(title) + 4].split()[-2:] for title in ("mAP, image to text", "mAP, image to image")
    }
    assert rows == {"mAP, image to text": ["50.0", "–"], "mAP, image to image": ["–", "20.0"]}


def test_on_a_narrow_terminal_numbers_stand_below_their_names():
    results = [result(f"a-long-name-{place}", 0.1 * place) for place in range(1, 4)]
    lines = render(results, 3, width=40)
    text = " ".join(lines)
    assert "none (zero-shot): a-long-name-1 10.0, a-long-name-2 20.0, a-long-name-3 30.0" in text
