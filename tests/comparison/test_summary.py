"""Means, deviations, gains and Pareto fronts, on hand-made numbers."""

import math

import pytest

from reidtune.comparison.summary import pareto, spread, summarise


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.5, 10.0)], [True]),
        ([(0.5, 10.0), (0.4, 20.0)], [True, False]),  # worse and dearer
        ([(0.5, 10.0), (0.6, 20.0)], [True, True]),  # better and dearer
        ([(0.5, 10.0), (0.6, 10.0)], [False, True]),  # better for the same
        ([(0.5, 10.0), (0.5, 9.0)], [False, True]),  # as good for less
        ([(0.5, 10.0), (0.5, 10.0)], [True, True]),  # alike: neither is better
        ([(0.3, 1.0), (0.5, 5.0), (0.4, 6.0), (0.6, 9.0), (0.6, 8.0)], [True, True, False, False, True]),
        ([(0.9, None), (0.5, 10.0)], [False, True]),  # of unknown cost
        ([(0.4, -math.inf), (0.3, 1.0), (0.5, 2.0)], [True, False, True]),  # beaten by what costs nothing
        ([], []),
    ],
)
def test_pareto(points, front):
    assert pareto(points) == front
    assert pareto(points[::-1]) == front[::-1]


def test_spread_is_the_sample_standard_deviation():
    assert spread([0.1, 0.2, 0.6]) == {
        "mean": pytest.approx(0.3),
        "deviation": pytest.approx(0.07**0.5),
        "values": [0.1, 0.2, 0.6],
    }
    assert spread([0.4]) == {"mean": 0.4, "deviation": None, "values": [0.4]}


def results_of(*maps):
    return [{"data": f"d{place}", "metrics": {"mAP": value, "rank-1": value + 0.1}} for place, value in enumerate(maps)]


def row(name, parameters=10, kept=100):
    return {"name": name, "counted": {"parameters": parameters, "bytes": 40, "activation_bytes": kept}}


def run(name, seed, *maps, size=50, parameters=10, samples=80, seconds=2.0, **more):
    found = {
        "row": name,
        "seed": seed,
        "status": "finished",
        "tests": results_of(*maps),
        "bytes": size,
        "error": "",
        "hint": "",
    }
    found |= {"parameters": parameters, "samples": samples, "seconds": seconds, "validation": {"mAP": maps[0] + 0.2}}
    return found | more


FAILED = {"status": "failed", "error": "The loss became nan.", "hint": "Lower it.", "tests": [], "seconds": 0}


def test_rows_come_by_falling_map_and_failed_ones_last():
    rows = [row("a"), row("broken"), row("b"), row("c")]
    runs = [run("a", 1, 0.3), run("b", 1, 0.5), run("c", 1, 0.4), run("broken", 1, 0.0, **FAILED)]
    found = summarise(rows, runs, {"tests": results_of(0.1)})
    assert [one["name"] for one in found] == ["b", "c", "a", "broken"]
    assert found[-1]["mAP"] is None and found[-1]["gain"] is None
    assert found[-1]["failed"] == [{"seed": 1, "error": "The loss became nan.", "hint": "Lower it."}]
    assert found[-1]["activation_bytes"] == 100  # counted before it failed
    assert found[-1]["front"] == []


def test_numbers_of_a_row_are_those_of_its_finished_runs():
    runs = [run("a", 1, 0.3, size=50, seconds=1.0), run("a", 2, 0.5, size=53, seconds=3.0), run("a", 3, 0.0, **FAILED)]
    [found] = summarise([row("a")], runs, {"tests": results_of(0.25)})
    assert found["seeds"] == [1, 2]
    assert found["mAP"]["mean"] == pytest.approx(0.4)
    assert found["mAP"]["deviation"] == pytest.approx(0.2 / 2**0.5)
    assert found["rank-1"]["mean"] == pytest.approx(0.5)
    assert found["validation_mAP"]["mean"] == pytest.approx(0.6)
    assert found["gain"] == pytest.approx(0.15)
    assert found["bytes"] == 52
    assert found["images_per_second"] == pytest.approx(160 / 4)  # all samples by all seconds
    assert [problem["seed"] for problem in found["failed"]] == [3]


def test_fronts_are_by_each_cost_and_the_backbone_alone_costs_nothing():
    rows = [row("small", 10, 300), row("large", 99, 100), row("worse", 1, 1)]
    runs = [
        run("small", 1, 0.4, parameters=10, size=40, seconds=1.0),
        run("large", 1, 0.5, parameters=99, size=400, seconds=4.0),
        run("worse", 1, 0.2, parameters=1, size=4, seconds=0.1),
    ]
    found = {one["name"]: one["front"] for one in summarise(rows, runs, {"tests": results_of(0.25)})}
    assert found == {
        "large": ["parameters", "bytes", "activation_bytes", "images_per_second"],
        "small": ["parameters", "bytes", "images_per_second"],  # large keeps fewer bytes and is better
        "worse": [],  # than the backbone alone
    }


def test_without_a_measured_speed_a_row_has_none():
    [found] = summarise([row("a")], [run("a", 1, 0.3, seconds=0.0, samples=0)], {"tests": results_of(0.1)})
    assert found["images_per_second"] is None
    assert found["front"] == ["parameters", "bytes", "activation_bytes"]


def test_further_datasets_are_summarised_beside():
    runs = [run("a", 1, 0.3, 0.7), run("a", 2, 0.4, 0.9)]
    [found] = summarise([row("a")], runs, {"tests": results_of(0.1, 0.2)})
    [also] = found["also"]
    assert also["data"] == "d1"
    assert also["mAP"]["values"] == [0.7, 0.9]
    assert found["mAP"]["values"] == [0.3, 0.4]
