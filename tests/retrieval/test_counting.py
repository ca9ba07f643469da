"""Counting against bounds, the shape of tiles, and threads."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from reidtune.retrieval.counting import count, each, items_at_a_time, workers
from reidtune.retrieval.similarity import Block

FLOATS = [-3e38, -1.0 - 2**-23, -1.0, -1e-30, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 1.0, 1.0 + 2**-23, 3e38]


@pytest.mark.parametrize("seed", range(8))
def testcounts_are_right_for_every_kind_of_fp32(seed):
    """Denormal, negative, huge and neighbouring scores, both zeros (which are equal), excluded ones, and many ties."""
    generator = torch.Generator().manual_seed(seed)
    some = torch.tensor([*FLOATS, -torch.inf])
    scores = some[torch.randint(len(some), (9, 30), generator=generator)]
    bounds = torch.tensor([*FLOATS, torch.inf])[torch.randint(len(some), (9, 5), generator=generator)]
    weights = torch.randint(1, 7, (30,), generator=generator)
    layers = [(value, (weights & value).nonzero()[:, 0]) for value in (1, 2, 4)]
    for weighted in (False, True):
        times = weights if weighted else torch.ones(30, dtype=torch.int64)
        above, equal, near = count(scores.clone(), bounds, layers if weighted else [(1, None)])
        pairs = scores.double()[:, None, :], bounds.double()[:, :, None]
        assert torch.equal(above, ((pairs[0] > pairs[1]) * times).sum(2))
        assert torch.equal(equal, ((pairs[0] == pairs[1]) * times).sum(2))
        close = (pairs[1].abs() * 4 * 2**-23).clamp(min=1e-6)
        assert torch.equal(near, (((pairs[0] - pairs[1]).abs() <= close) & pairs[1].isfinite()).any(2).any(1))
        assert equal.any() and above.any() and near.any()


def test_tiles_are_whole_blocks_that_keep_threads_busy_and_memory_small():
    block = Block(256, 256)
    assert items_at_a_time(10, 512, block, 2) == 256
    assert items_at_a_time(15_913, 512, block, 2) == 2048
    assert items_at_a_time(15_913, 512, block, 16) == 256
    assert items_at_a_time(10**6, 512, block, 2) * 512 <= 2**21
    assert items_at_a_time(10**6, 10**5, block, 2) == 256


def test_workers_run_torch_on_one_core_and_leave_the_setting():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with workers(2) as pool:
            ready = threading.Barrier(2)
            seen = each(pool, lambda _: (ready.wait(10), torch.get_num_threads())[1], [0, 1])
        assert seen == [1, 1]
        assert torch.get_num_threads() == 3
        fresh = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [3]
    finally:
        torch.set_num_threads(before)


def test_the_first_error_is_raised_and_the_rest_is_left():
    done = []

    def work(job: int) -> int:
        if job in (3, 5):
            raise ValueError(job)
        time.sleep(0.001)
        done.append(job)
        return job * job

    with workers(2) as pool:
        assert each(pool, work, [0, 1, 2]) == [0, 1, 4]
        with pytest.raises(ValueError, match="3"):
            each(pool, work, range(1000))
    assert len(done) < 900
