import os
import signal
import threading

import pytest

from reidtune.training import stop as module
from reidtune.training.stop import Interrupted, StopNow, stop_signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_a_request_and_the_second_stops(number, code, monkeypatch):
    before = signal.getsignal(number)
    with stop_signals() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert Interrupted("", "", stop.number).exit_code == code
        os.kill(os.getpid(), number)  # to the process and to its group: one
        monkeypatch.setattr(module, "_ONE", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_outside_the_main_thread_signals_are_left_alone():
    seen = []

    def inside():
        with stop_signals() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [False]


def test_work_that_changes_nothing_is_stopped_by_the_first_signal():
    with stop_signals() as stop:
        with pytest.raises(StopNow) as now, stop.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
        assert (now.value.number, now.value.again) == (signal.SIGTERM, False)
        os.kill(os.getpid(), signal.SIGTERM)  # the same one, once more: what cleans up is not stopped
        with pytest.raises(StopNow), stop.at_once():
            pytest.fail("a signal that came before is not forgotten")


def test_another_signal_is_a_second_one_at_once():
    with stop_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopNow) as now:
            os.kill(os.getpid(), signal.SIGINT)
        assert now.value.again


def test_within_itself_it_is_the_same_request_in_its_own_mode():
    with stop_signals() as outer:
        try:
            with outer.at_once(), stop_signals() as inner:
                assert inner is outer
                os.kill(os.getpid(), signal.SIGINT)
                assert inner
        except StopNow:
            pytest.fail("within, it was a request")
    with stop_signals() as later:
        assert later is not outer
        assert not later
