import pytest

from reidtune.data import waiting as module
from reidtune.data.reading import reading
from reidtune.data.waiting import Waiting


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module, "cores", lambda: 4)
    return now


def epoch(waiting, clock, wait, work, steps=5):
    def batches():
        for number in range(steps):
            clock[0] += 100 if number == 0 else wait  # the first starts processes
            yield number

    seen = []
    for batch in waiting.through(batches()):
        clock[0] += work
        seen.append(batch)
    assert seen == list(range(steps))


def test_the_share_is_that_of_waiting_and_told_once(clock):
    said = []
    waiting = Waiting(said.append, 1)
    for _ in range(2):
        epoch(waiting, clock, 3, 5)
        assert waiting.share == 3 / 8
        waiting.end_of_epoch(10)
    assert said == [
        "Waiting for images takes 38% of a step: use --workers 2 (now 1), or keep the images decoded with "
        "--set training.image_cache=disk."
    ]


def test_a_short_wait_is_not_worth_a_sentence(clock):
    said = []
    waiting = Waiting(said.append, 0)
    epoch(waiting, clock, 1, 5)  # a sixth
    waiting.end_of_epoch(1000)
    epoch(waiting, clock, 5, 5)
    waiting.end_of_epoch(2)  # 20 s an epoch, two to come
    assert not said
    epoch(waiting, clock, 0, 0, steps=1)
    assert waiting.share == 0


def test_with_kept_pixels_the_second_epoch_counts(clock):
    said = []
    waiting = Waiting(said.append, 0)
    with reading(kept=object()):
        epoch(waiting, clock, 5, 5)
        waiting.end_of_epoch(100)
        assert not said
        epoch(waiting, clock, 5, 5)
        waiting.end_of_epoch(100)
        assert said == ["Waiting for images takes 50% of a step: use --workers 2 (now 0)."]
        busy = Waiting(said.append, 4)
        for _ in range(2):
            epoch(busy, clock, 5, 5)
            busy.end_of_epoch(100)
    assert len(said) == 1  # nothing more can be done


def test_batches_left_early_are_closed(clock):
    ended = []

    def batches():
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    for _ in Waiting(print, 0).through(batches()):
        break
    assert ended
