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


def in_rounds(
    items: Sequence[T], embed: Callable[[Sequence[T]], Iterator[Tensor]], batch_size: int, team: Team = ALONE
) -> Iterator[Tensor]:
    """The features of all ``items`` in order, in each process, a piece [n, ...] at a time: ``embed`` gives those of
    some of them, ``batch_size`` at a time. Each process embeds every so manyth batch: the batches, and so the
    features, are those of a process alone, bit for bit."""
    import torch

    batches = [range(start, min(start + batch_size, len(items))) for start in range(0, len(items), batch_size)]
    own = embed([items[place] for batch in batches[team.rank :: team.size] for place in batch])
    for _ in range(0, len(batches), team.size):
        with team.agreed():
            part = next(own, None)
        yield team.rows(torch.empty(0) if part is None else part)
