"""Counting samples and seconds, and what is believed of a file in a run folder."""

import json

import pytest

from reidtune.comparison.measured import MEASURED_FILE, Measured, Watch, read_measured
from reidtune.delta import write_delta
from reidtune.methods.registry import find_method
from tests.training.reporter import Silent


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_steps_count_and_validation_does_not():
    clock, told, measured, kept = Clock(), Silent(), Measured(), []
    watch = Watch(told, measured, 32.0, lambda: kept.append(measured.seconds), clock)

    def after(seconds, call, *arguments):
        clock.now += seconds
        call(*arguments)

    after(50, watch.start, 0, 4)
    after(1000, watch.epoch, {"epoch": 0, "step": 0})  # the validation before training
    after(2, watch.step, 1, 0.5)
    after(3, watch.step, 2, 0.5)
    after(1000, watch.epoch, {"epoch": 1, "step": 2})
    after(4, watch.step, 3, 0.5)
    after(5, watch.step, 4, 0.5)
    after(1000, watch.epoch, {"epoch": 2, "step": 4})
    assert (measured.samples, measured.seconds) == (128.0, 14.0)
    assert measured.images_per_second == pytest.approx(128 / 14)
    assert kept == [5.0, 14.0]  # after each epoch, so that little is lost with the process
    assert (told.steps, told.total, [row["epoch"] for row in told.rows]) == (4, 4, [0, 1, 2])


def test_without_a_validation_the_first_step_counts_from_the_start():
    clock, measured = Clock(), Measured()
    watch = Watch(Silent(), measured, 8.0, lambda: None, clock)
    clock.now += 70
    watch.start(0, 1)
    clock.now += 2
    watch.step(1, 0.0)
    assert (measured.samples, measured.seconds) == (8.0, 2.0)


def test_nothing_measured_is_no_speed():
    assert Measured().images_per_second is None


@pytest.fixture
def folder(small_backbone, header_for, tmp_path):
    page = find_method("lora")
    method = page(page.Settings())
    write_delta(
        tmp_path / "delta.safetensors", method.tuner(small_backbone).tensors(), header_for(method, small_backbone)
    )
    return tmp_path


@pytest.fixture
def measured(folder):
    from reidtune.delta import read_header

    found = Measured(
        {"parameters": 3}, {"steps": 4}, 64, 2.0, "cpu", 1, read_header(folder).digest, 3, 50, {"mAP": 0.5}
    )
    found.tests = [{"data": {"hash": "abc"}, "metrics": {"mAP": 0.4}}]
    found.write(folder)
    return found


def test_what_was_written_is_read(folder, measured):
    found = read_measured(folder, ["abc"])
    assert found == measured
    assert found.finished


@pytest.mark.parametrize("change", ["data", "digest", "gone"])
def test_the_end_of_a_run_counts_with_its_delta_and_data_alone(folder, measured, change):
    if change == "digest":
        content = json.loads((folder / MEASURED_FILE).read_text())
        (folder / MEASURED_FILE).write_text(json.dumps({**content, "digest": "0" * 64}))
    if change == "gone":
        (folder / "delta.safetensors").unlink()
    found = read_measured(folder, ["xyz" if change == "data" else "abc"])
    assert not found.finished


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "speed": 3}', "\xff"])
def test_a_file_that_is_none_says_nothing(folder, text):
    (folder / MEASURED_FILE).write_text(text, encoding="latin-1")
    assert read_measured(folder, ["abc"]) == Measured()
