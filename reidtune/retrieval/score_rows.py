"""Rankings of scores that are given, whoever made them."""

from __future__ import annotations

import torch
from torch import Tensor

_LAST = torch.iinfo(torch.int64).min  # the key of an item behind every counted one


def score_rows(scores: Tensor, positive: Tensor, dropped: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Average precision, inverse negative penalty (both float64, NaN without a positive) and the rank of the first
    positive (int64, 0 without one) of every row, each [Q].

    With the ranks r₁ < … < r_P of a row's positives among its counted items, AP = (1/P) Σ k / r_k and INP = P / r_P
    (Ye et al. 2021, Eq. 8). A rank is the number of counted items at least as good, so nothing but the positives is
    sorted: every item is placed between them by bisection, and the places are counted.

    Args:
        scores: fp32 [Q, G], finite, higher is better; of equal ones the first is better.
        positive: boolean [Q, G].
        dropped: boolean [Q, G], items that do not count, or ``None``.
    """
    keys = _keys(scores)
    if dropped is not None:
        keys.masked_fill_(dropped, _LAST)
        positive = positive & ~dropped
    number = positive.sum(1)
    width = max(1, int(number.max()))
    row, column = positive.nonzero(as_tuple=True)
    slot = torch.arange(len(row)) - (number.cumsum(0) - number)[row]
    bounds = torch.full((len(scores), width), _LAST)
    bounds[row, slot] = keys[row, column]
    bounds = bounds.sort(1).values  # ascending; unused slots come first
    bins = torch.searchsorted(bounds, keys, right=True)  # how many bounds an item reaches
    counts = torch.zeros(len(scores), width + 1, dtype=torch.int64)
    counts.scatter_add_(1, bins, torch.ones((), dtype=torch.int64).expand_as(bins))
    ranks = counts[:, 1:].flip(1).cumsum(1)  # of the positives, best first, then of unused slots
    used = torch.arange(width) < number[:, None]
    shares = torch.arange(1, width + 1, dtype=torch.float64) / ranks.clamp(min=1)
    precision = shares.where(used, 0.0).sum(1) / number
    last = ranks.gather(1, (number - 1).clamp(min=0)[:, None])[:, 0]
    penalty = (number / last.double()).where(number > 0, torch.nan)
    return precision, penalty, ranks[:, 0].where(number > 0, 0)


def _keys(scores: Tensor) -> Tensor:
    """int64 [Q, G], different within a row and in the order of the scores; of equal scores the first has the highest.

    The bits of an fp32 number, all but the sign flipped where it is negative, are an integer of the same order.
    """
    bits = (scores + 0.0).view(torch.int32)  # + 0 makes −0 equal to 0
    bits ^= (bits >> 31) & 0x7FFFFFFF
    keys = bits.long()
    keys <<= 32
    keys += torch.arange(scores.shape[1] - 1, -1, -1)
    return keys
