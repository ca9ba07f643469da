from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from reidtune.report.progress import TerminalReporter, counting


def console(terminal=False, quiet=False):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, quiet=quiet, color_system=None)


def written(target):
    return target.file.getvalue()


ROW = {"epoch": 3, "loss": 1.23456, "validation rank-1": 0.5, "validation mAP": 0.98765}


def test_an_epoch_is_a_line_in_percent_also_in_a_file():
    target = console()
    with TerminalReporter(target) as reporter:
        reporter.start(0, 10)
        reporter.epoch({"epoch": 0, "validation rank-1": 1.0, "validation mAP": 0.25})
        reporter.step(1, 4.0)
        reporter.epoch(ROW)
        reporter.epoch({"epoch": 12, "loss": 0.5})
        reporter.epoch({"epoch": 0})  # nothing is known before the first step
    assert written(target).splitlines() == [
        "before      validation rank-1 100.0  mAP  25.0",
        "epoch   3   loss 1.235   validation rank-1  50.0  mAP  98.8",
        "epoch  12   loss 0.500",
    ]


def test_a_resumed_run_says_where_it_goes_on():
    target = console()
    with TerminalReporter(target) as reporter:
        reporter.start(7, 10)
    assert written(target) == "Going on at step 7 of 10.\n"


def test_a_terminal_shows_step_and_loss():
    target = console(terminal=True)
    with TerminalReporter(target) as reporter:
        reporter.start(4, 10)
        assert "4/10" in written(target)
        reporter.step(5, 1.5)
        reporter.epoch(ROW)
    text = written(target)
    assert "5/10" in text
    assert "loss 1.500" in text
    assert "epoch   3   loss 1.235" in text


def test_the_bar_is_taken_down_when_training_fails():
    target = console(terminal=True)
    reporter = TerminalReporter(target)
    with pytest.raises(RuntimeError), reporter:
        reporter.start(0, 10)
        assert "\x1b[?25l" in written(target)  # the cursor is hidden
        raise RuntimeError
    assert written(target).rindex("\x1b[?25h") > written(target).rindex("\x1b[?25l")
    length = len(written(target))
    reporter.step(3, 1.0)
    assert len(written(target)) == length


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_is_quiet(terminal):
    target = console(terminal, quiet=True)
    with TerminalReporter(target) as reporter:
        reporter.start(5, 10)
        reporter.step(6, 1.0)
        reporter.epoch(ROW)
    with counting(target, "Images") as count:
        count(1, 2)
    assert written(target) == ""


def test_counting_shows_done_of_total_on_a_terminal_only():
    target = console(terminal=True)
    with counting(target, "Reading images"):
        pass
    assert "Reading" not in written(target)  # nothing was counted
    with counting(target, "Reading images") as count:
        count(128, 3368)
    assert "Reading images" in written(target)
    assert "128/3368" in written(target)
    file = console()
    with counting(file, "Reading images") as count:
        count(128, 3368)
    assert written(file) == ""


def test_importing_progress_loads_neither_rich_nor_torch():
    code = "import sys, reidtune.report.progress; sys.exit(bool({'rich', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
