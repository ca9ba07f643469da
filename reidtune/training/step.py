"""Forward and backward of one optimiser step: in one piece, or in parts that together give the very same gradients.

Losses of a batch look at all of its features, so parts cannot each have their own loss. Two passes make them exact
(cached gradients, Gao et al. 2021, arXiv 2101.06983): features of all parts without autograd, the loss and its gradient
with respect to every feature, then each part once more with autograd, to carry its share of that gradient on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from reidtune.data.batch import Batch
from reidtune.losses.objective import SHARED, STATISTICS

Outputs = dict[str, Tensor]
Encode = Callable[[Batch, int], Outputs]
"""A batch, or the part of that number, to what the objective needs; called twice for a part, it must give the same."""

Objective = Callable[[Outputs, Tensor], tuple[Tensor, dict[str, Tensor]]]


class Exchange(Protocol):
    """How the processes that share a batch see all of it; each has a slice of its rows, or none."""

    def gather(self, outputs: Outputs, labels: Tensor) -> tuple[Outputs, Tensor]:
        """Outputs and labels of the whole batch from those of this process, detached: rows joined, statistics added."""

    def own(self, gradients: Mapping[str, Tensor]) -> Outputs:
        """From gradients of the whole batch's outputs those of this process's; of statistics all is its own."""

    def backward(self, roots: Sequence[Tensor], gradients: Sequence[Tensor], last: bool) -> None:
        """Carry ``gradients`` of a part's outputs on. With the ``last`` part those of all processes are added up."""


@dataclass
class Forward:
    """The loss of a batch and its ``parts`` before weighting; :meth:`backward` adds to the gradients."""

    loss: Tensor
    parts: dict[str, Tensor]
    backward: Callable[[], None]


def forward(
    encode: Encode, objective: Objective, batch: Batch, *, parts_of: int | None = None, exchange: Exchange | None = None
) -> Forward:
    """The loss of ``batch`` (of this process's share where there is an ``exchange``).

    ``parts_of`` is how many samples go through the towers at once; ``None``: all. Outputs named ``statistics/…`` are
    sums over samples, ``shared/…`` constants, and all others have a row a sample.

    Raises:
        ValueError: the outputs of a part are not so, or not those of the others; the first is named.
    """
    assert batch.labels is not None
    if exchange is None and (parts_of is None or parts_of >= len(batch.labels)):
        loss, parts = objective(encode(batch, 0), batch.labels)
        return Forward(loss, parts, lambda: torch.autograd.backward(loss))

    pieces = batch.split(parts_of) if len(batch.labels) else []
    if len(pieces) == 1:  # its graph is kept: one pass is enough
        kept = encode(pieces[0], 0)
        found = [kept]
    else:
        kept = None
        with torch.no_grad():
            found = [encode(piece, place) for place, piece in enumerate(pieces)]
    for piece, outputs in zip(pieces, found, strict=True):
        _check(outputs, found[0], piece)
    whole = joined([{name: value.detach() for name, value in outputs.items()} for outputs in found])
    labels = batch.labels
    if exchange is not None:
        whole, labels = exchange.gather(whole, labels)
    leaves = {name: value.requires_grad_(_varies(name, value)) for name, value in whole.items()}
    loss, parts = objective(leaves, labels)

    def backward() -> None:
        torch.autograd.backward(loss)
        gradients = {name: value.grad for name, value in leaves.items() if value.grad is not None}
        mine = gradients if exchange is None else exchange.own(gradients)
        carry_on = _backward if exchange is None else exchange.backward
        start = 0
        for place, piece in enumerate(pieces):
            assert piece.labels is not None
            outputs = encode(piece, place) if kept is None else kept
            rows = slice(start, start + len(piece.labels))
            carry_on(*_from(outputs, mine, rows), last=place == len(pieces) - 1)
            start = rows.stop
        if not pieces:
            carry_on([], [], last=True)

    return Forward(loss, parts, backward)


def joined(parts: Sequence[Mapping[str, Tensor]]) -> Outputs:
    """The outputs of a batch from those of its parts: rows joined, statistics added, shared ones taken once."""
    found: Outputs = {}
    for name, first in parts[0].items() if parts else ():
        values = [part[name] for part in parts]
        if name.startswith(SHARED):
            found[name] = first
        elif name.startswith(STATISTICS):
            found[name] = torch.stack(values).sum(dim=0)
        else:
            found[name] = torch.cat(values)
    return found


def _check(outputs: Mapping[str, Tensor], first: Mapping[str, Tensor], piece: Batch) -> None:
    """Raise ``ValueError`` where outputs of a part cannot be joined with those of the first part."""
    assert piece.labels is not None
    if differing := sorted(outputs.keys() ^ first.keys()):
        raise ValueError(f"some parts of a batch have the output {differing[0]}, others do not")
    for name, value in outputs.items():
        if not name.startswith((SHARED, STATISTICS)) and (value.ndim == 0 or len(value) != len(piece.labels)):
            raise ValueError(
                f"the output {name} has shape {list(value.shape)}, which is not a row for each of {len(piece.labels)} "
                f"samples: name it {STATISTICS}… if it is a sum over samples, {SHARED}… if it is a constant"
            )


def _varies(name: str, value: Tensor) -> bool:
    return value.is_floating_point() and not name.startswith(SHARED)


def _from(outputs: Outputs, gradients: Mapping[str, Tensor], rows: slice) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs of a part that have a gradient, and its share of the gradients of the whole batch's outputs."""
    roots, given = [], []
    for name, value in outputs.items():
        if name in gradients and value.requires_grad:
            roots.append(value)
            given.append((gradients[name] if name.startswith(STATISTICS) else gradients[name][rows]).to(value.dtype))
    return roots, given


def _backward(roots: Sequence[Tensor], gradients: Sequence[Tensor], last: bool) -> None:
    if roots:
        torch.autograd.backward(roots, gradients)
