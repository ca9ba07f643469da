"""Worker processes that stay: the same batches, and no process left behind."""

import multiprocessing
import os
import signal
import time

import pytest
import torch

from reidtune.backbone.preprocess import Preprocess
from reidtune.data import EvalTransform, TrainTransform, eval_loader, label_map, train_loader
from reidtune.data import workers as workers_module
from reidtune.data.loader import readable_loader
from reidtune.data.reading import current, reading
from reidtune.data.workers import MOST, choose_workers
from reidtune.errors import DataError, ReidtuneError

PREPROCESS = Preprocess(16, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BATCHES = [[0, 1], [2, 3], [4, 5], [0, 2], [1, 3]]
PLAIN = EvalTransform(PREPROCESS)


class Dies:
    preprocess = PREPROCESS

    def vary(self, pixels, seed, out):
        os.kill(os.getpid(), signal.SIGKILL)


def epoch(records, number=0, workers=2, **options):
    transform = TrainTransform(PREPROCESS)
    return train_loader(records, label_map(records), BATCHES, transform, 1, number, workers=workers, **options)


def same(first, second):
    return all(torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


def children():
    return {process.pid for process in multiprocessing.active_children()}


def test_processes_stay_for_every_pass_and_then_go(photos):
    records, before = photos(6), children()
    plain = [list(epoch(records, number, 0)) for number in range(3)]
    with reading():
        assert same(list(epoch(records)), plain[0])
        started = children() - before
        assert len(started) == 2
        (images,) = eval_loader(records, PLAIN, 6, 2)
        assert torch.equal(images, next(eval_loader(records, PLAIN, 6)))
        assert same(list(epoch(records, 1)), plain[1])
        assert same(list(epoch(records, 2, start=3)), plain[2][3:])
        assert children() - before == started
    assert children() == before
    assert current().kept is None


def test_a_pass_that_is_left_early_disturbs_no_other(photos):
    records = photos(6)
    plain = [list(epoch(records, number, 0)) for number in range(4)]
    with reading():
        for number in range(3):
            batches = epoch(records, number)
            assert same([next(batches)], plain[number][:1])
            batches.close()
        assert same(list(epoch(records, 3)), plain[3])


def test_two_passes_at_once_have_processes_each(photos):
    records, before = photos(6), children()
    plain = list(epoch(records, 0, 0))
    with reading():
        batches = epoch(records)
        first = next(batches)
        assert torch.equal(torch.cat(list(eval_loader(records, PLAIN, 2, 2)))[:1], next(eval_loader(records, PLAIN, 1)))
        assert len(children() - before) == 2  # the other ones have gone
        assert same([first, *batches], plain)


def test_a_broken_image_is_named_and_the_next_pass_is_right(photos, tmp_path):
    records = photos(6)
    good = (tmp_path / "3.png").read_bytes()
    plain = list(epoch(records, 0, 0))
    with reading():
        (tmp_path / "3.png").write_bytes(good[:60])
        with pytest.raises(DataError, match=r"3\.png"):
            list(epoch(records))
        assert [sorted(errors) for _, errors in readable_loader(records, PLAIN, 2, 2)] == [[], [1], []]
        (tmp_path / "3.png").write_bytes(good)
        assert same(list(epoch(records)), plain)


def test_a_worker_killed_at_work_is_told_in_words_and_others_may_follow(photos):
    records, before = photos(6), children()
    with reading():
        with pytest.raises(ReidtuneError, match="ended unexpectedly"):
            list(eval_loader(records, Dies(), 2, workers=2))
        assert children() == before
        assert same(list(epoch(records)), list(epoch(records, 0, 0)))


def test_a_worker_killed_while_the_model_computes_is_told_in_words(photos):
    records, before = photos(6), children()
    with pytest.raises(ReidtuneError, match="ended unexpectedly") as error, reading():
        list(epoch(records))
        os.kill(min(children() - before), signal.SIGKILL)
        time.sleep(0.2)  # nothing happens meanwhile
        list(epoch(records))
    assert "workers" in error.value.hint
    assert children() == before


def test_torchs_generator_is_left_alone(photos):
    records = photos(6)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with reading():
        list(epoch(records))
        list(epoch(records, 1))
    assert torch.equal(torch.rand(4), expected)


def test_batches_are_on_the_device_of_the_reading(photos):
    records = photos(6)
    with reading(device=torch.device("meta")):
        assert all(images.device.type == "meta" for images, _, _ in epoch(records, 0, 0))


def test_the_number_of_workers_is_by_device_and_cores(monkeypatch):
    monkeypatch.setattr(workers_module.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [choose_workers(wanted, cpu) for wanted in (None, 0, 3)] == [0, 0, 3]
    assert [choose_workers(wanted, cuda) for wanted in (None, 0, 3)] == [5, 0, 3]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert choose_workers(None, cuda) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "100")
    assert choose_workers(None, cuda) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setattr(workers_module.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert choose_workers(None, cuda) == MOST
