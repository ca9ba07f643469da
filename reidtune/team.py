"""The processes that work on one job together. Here: one process alone, for which all of it is nothing to do;
:mod:`reidtune.training.distributed` has the processes that torchrun started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from reidtune.training.step import Exchange

T = TypeVar("T")


class Team:
    """One of ``size`` processes, number ``rank``, which computes on ``device`` (``None``: as the settings say). All of
    them call the same methods in the same order."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes the files: the first does."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of ``count`` rows are this process's: a piece in order, the first pieces longer by one."""
        each, more = divmod(count, self.size)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def exchange(self, tuner: nn.Module, heads: nn.Module) -> Exchange | None:
        """How a step sees the whole batch; anew whenever other tensors are trained. ``None`` for a process alone."""
        return None

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """An error of one process in the block is raised by all of them at its end."""
        yield

    def together(self, items: Iterator[T]) -> Iterator[T]:
        """Pass ``items`` on, equally many in each process; an error of one in getting the next is raised by all."""
        return items

    @contextmanager
    def first_then_others(self) -> Iterator[None]:
        """The first process goes through the block before the others: what it downloads they find."""
        yield

    def of_first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process, or its error, for all; the others do not call it."""
        return make()

    def largest(self, number: int) -> int:
        """The largest of the numbers of all processes."""
        return number

    def rows(self, own: Tensor) -> Tensor:
        """The rows [n, ...] of all processes, one process's after the other's; they may have different numbers."""
        return own

    def check_equal(self, facts: Mapping[str, Any]) -> None:
        """Raise :class:`ReidtuneError` naming what differs, and in which process."""

    def wait(self) -> None:
        """Until all processes are here."""


ALONE = Team()


def in_shares(
    items: Sequence[T],
    embed: Callable[[Sequence[T]], Iterator[tuple[list[int], Tensor]]],
    batch_size: int,
    team: Team = ALONE,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """The features [N, ...] of all ``items``, in each process. ``embed`` gives those of some of them, ``batch_size`` at
    a time, in order; ``progress`` is told how many. A process embeds whole batches, every so manyth: the batches, and
    so the features, are those of a process alone, bit for bit."""
    import torch

    batches = [range(start, min(start + batch_size, len(items))) for start in range(0, len(items), batch_size)]
    shares = [[place for batch in batches[rank :: team.size] for place in batch] for rank in range(team.size)]
    features: list[Tensor] = []
    with team.agreed():
        for _, part in embed([items[place] for place in shares[team.rank]]):
            features.append(part)
            if progress is not None:
                progress(len(part))
    found = team.rows(torch.cat(features) if features else torch.empty(0))
    if team.size == 1:
        return found
    return found[torch.tensor([place for share in shares for place in share]).argsort()]
