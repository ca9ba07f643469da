"""What is printed below the metrics."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from reidtune.report.analysed import analysis_report
from reidtune.report.tables import obtained

METRICS = {"rank-1": 0.5, "rank-5": 0.75, "rank-10": 0.8, "rank-20": 1.0, "mAP": 0.4321, "mINP": 0.1}


def result(**facts):
    return {
        "task": "image",
        "layout": "market1501",
        "protocol": "all",
        "tie_rule": "stable",
        "metrics": METRICS,
        "queries": {"total": 10, "skipped": 0},
        "gallery": {"total": 20, "ignored": 0},
        "backbone": None,
        "delta": None,
        **facts,
    }


def intervals(**bounds):
    return {"bounds": bounds, "identities": 7, "draws": 1000, "seed": 0}


def decided(**changes):
    return {
        "scores": "cosine",
        "pairs": {"genuine": 1234, "impostor": 56789},
        "auc": 0.98765,
        "eer": 0.0625,
        "roc": [
            {"fpr": 0.01, "tpr": 0.9, "threshold": 0.5},
            {"fpr": 0.001, "tpr": 0.75, "threshold": 0.625},
            {"fpr": 0.0001, "tpr": None, "threshold": None},
        ],
        "suggested": {
            "fpr": 0.001,
            "tpr": 0.75,
            "threshold": 0.625,
            "interval": [0.6, 0.65],
            "identities": 7,
            "draws": 1000,
        },
        "open_set": {
            "known": 80,
            "unknown": 1,
            "held_out_identities": 2,
            "seed": 0,
            "rank-1": 0.95,
            "rates": [
                {"far": 0.01, "dir": None, "threshold": None},
                {"far": 0.1, "dir": 0.875, "threshold": 0.7},
            ],
        },
        **changes,
    }


def printed(*results, width=80):
    stream = io.StringIO()
    Console(file=stream, width=width).print(analysis_report(results))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines), default=0) <= width
    return " ".join(stream.getvalue().split())


def test_nothing_to_say():
    assert printed(result()) == ""


def test_metrics_without_what_was_applied():
    applied = {"expansion": {"kind": "aqe", "k": 5, "side": "both"}, "reranking": {"k1": 9, "k2": 2, "lambda": 0.25}}
    one = result(applied=applied, without={"metrics": METRICS})
    assert "Without expansion and re-ranking: rank-1 50.0, rank-5 75.0, rank-10 80.0, mAP 43.2" in printed(one)
    sentence = obtained(one)
    assert "queries and gallery expanded (aqe, k 5); re-ranked (k1 9, k2 2, lambda 0.25)" in sentence
    means = obtained(
        result(applied={"camera_means": {}, "expansion": {"kind": "alpha-qe", "k": 3, "alpha": 2.0, "side": "query"}})
    )
    assert "the mean of each test camera subtracted; queries expanded (alpha-qe, k 3, alpha 2)" in means


def test_intervals_of_both_directions_and_of_several_results():
    one = result(intervals=intervals(mAP=(0.4, 0.5)), image_to_text={"intervals": intervals(mAP=(0.2, 0.25))})
    text = printed(one, result(intervals=intervals(mAP=None)))
    assert "Text to image, 95 % intervals over 7 query identities (1,000 draws): mAP 40.0–50.0." in text
    assert "Image to text, 95 % intervals over 7 query identities (1,000 draws): mAP 20.0–25.0." in text
    assert "none, one identity is too few" in text
    assert text.count("none (zero-shot):") == 2


@pytest.mark.parametrize("width", [80, 40])
def test_decisions(width):
    text = printed(result(decisions=decided()), width=width)
    assert "0.1 %" in text and "75.0 %" in text and "0.6250" in text
    assert "1,234 genuine pairs, 56,789 impostor pairs, by cosine: equal error rate 6.2" in text
    assert "area under the ROC 98.77" in text or "area under the ROC 98.76" in text
    assert "–: too few impostor pairs" in text
    assert "Suggested threshold: 0.6250 (95 % interval 0.6000–0.6500 over 7 query identities, 1,000 draws)" in text
    assert "75.0 % of genuine and at most 0.1 % of impostor pairs" in text
    assert "Open set, 80 known queries, 1 unknown query (2 identities taken out of the gallery, seed 0)" in text
    assert "rank-1 95.0; found and accepted – at 1 % false alarms; 87.5 at 10 % false alarms (threshold 0.7000)" in text


def test_decisions_that_cannot_be_measured():
    none = {"fpr": 0.001, "tpr": None, "threshold": None, "interval": None, "identities": 1, "draws": 1000}
    text = printed(result(decisions=decided(suggested=none, open_set=None)))
    assert "No threshold for 0.1 % of impostor pairs" in text
    assert "Open set: none" in text
