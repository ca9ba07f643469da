"""Shares of a batch, and features computed in shares."""

import pytest
import torch

from reidtune.team import ALONE, Team, in_rounds


def teams(size):
    found = [Team() for _ in range(size)]
    for rank, team in enumerate(found):
        team.rank, team.size = rank, size
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 64])
def test_shares_are_all_rows_once_in_order_and_nearly_equal(size, count):
    shares = [range(count)[team.share(count)] for team in teams(size)]
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert count == 0 or len(shares[0]) > 0  # who has rows knows what an output looks like: the first always does


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 5, 12, 13])
def test_rounds_are_the_batches_of_one_process(size, count):
    seen = []

    def embed(items):
        for start in range(0, len(items), 3):
            seen.append(items[start : start + 3])
            yield torch.tensor(items[start : start + 3])

    whole = [part.tolist() for part in in_rounds(range(count), embed, 3, ALONE)]
    assert [row for part in whole for row in part] == list(range(count))
    alone = sorted(map(list, seen))
    seen.clear()
    rounds = [list(in_rounds(range(count), embed, 3, team)) for team in teams(size)]
    assert sorted(map(list, seen)) == alone
    joined = [torch.cat(parts).tolist() for parts in zip(*rounds, strict=True)]  # what rows() does
    assert [row for part in joined for row in part] == list(range(count))
