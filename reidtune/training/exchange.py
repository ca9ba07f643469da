"""One step over the slices that several processes have of a batch: outputs gathered, gradients added by torch's
DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reidtune.losses.objective import SHARED, STATISTICS
from reidtune.training.lost import reached

if TYPE_CHECKING:
    from reidtune.training.distributed import Processes
    from reidtune.training.step import Outputs


class _Place(NamedTuple):
    """An output: its shape (without the rows, where it has a row a sample) and type."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class DataParallel:
    """Implements :class:`reidtune.training.step.Exchange`.

    Everything behind the towers is computed by every process on the whole batch, in the same order of rows, so the
    heads' gradients are the same everywhere; those of the tuner are the sums over the processes.
    """

    def __init__(self, team: Processes, tuner: nn.Module, heads: nn.Module) -> None:
        self.team = team
        self.heads = heads
        trained = [value for value in tuner.parameters() if value.requires_grad]
        self._parallel = DistributedDataParallel(_Carrier(trained).to(team.device), find_unused_parameters=True)
        self._counts: list[int] = []

    @reached()
    def gather(self, outputs: Outputs, labels: Tensor) -> tuple[Outputs, Tensor]:
        device = self.team.device
        counts = torch.zeros(self.team.size, dtype=torch.int64)
        counts[self.team.rank] = len(labels)
        dist.all_reduce(counts)
        self._counts = counts.tolist()
        shared = {name: value for name, value in outputs.items() if name.startswith(SHARED)}
        own = {name: value for name, value in outputs.items() if name not in shared}
        places = [_Place(name, tuple(value.shape[not _is_sum(name) :]), value.dtype) for name, value in own.items()]
        if 0 in self._counts:  # who has no rows does not know what there would be; the first always has
            known = [(places, {name: value.cpu() for name, value in shared.items()})]
            dist.broadcast_object_list(known, src=0)
            places, shared = known[0][0], {name: value.to(device) for name, value in known[0][1].items()}
        places.append(_Place("labels", (), labels.dtype))
        found = self._exchanged({**own, "labels": labels}, places)
        everyone = found.pop("labels")
        return {**found, **shared}, everyone

    def own(self, gradients: Mapping[str, Tensor]) -> Outputs:
        start = sum(self._counts[: self.team.rank])
        mine = slice(start, start + self._counts[self.team.rank])
        return {name: value if _is_sum(name) else value[mine] for name, value in gradients.items()}

    @reached()
    def backward(self, roots: Sequence[Tensor], gradients: Sequence[Tensor], last: bool) -> None:
        scaled = [gradient * self.team.size for gradient in gradients]  # a mean is taken, but a sum is due
        if not last:  # without DistributedDataParallel's forward its hooks only let the gradient pass, as in no_sync
            if roots:
                torch.autograd.backward(roots, scaled)
            return
        self._same_for_heads()
        outputs = self._parallel(list(roots))
        torch.autograd.backward(outputs, [*scaled, torch.zeros_like(outputs[-1])])

    def _exchanged(self, own: Outputs, places: Sequence[_Place]) -> Outputs:
        """All outputs in one message: bytes, so that nothing is rounded; rows padded to the longest slice."""
        rows = [place for place in places if not _is_sum(place.name)]
        sums = [place for place in places if _is_sum(place.name)]
        widths = [_bytes(place) for place in rows]
        longest, width, count = max(self._counts), sum(widths), self._counts[self.team.rank]
        table = torch.zeros(longest, width, dtype=torch.uint8, device=self.team.device)
        if count:
            table[:count] = torch.cat([_as_bytes(own[place.name]).view(count, -1) for place in rows], dim=1)
        tail = [
            _as_bytes(own[place.name]) if count else torch.zeros(_bytes(place), dtype=torch.uint8, device=table.device)
            for place in sums
        ]
        message = torch.cat([table.flatten(), *tail])
        received = [torch.empty_like(message) for _ in self._counts]
        dist.all_gather(received, message)
        cut = longest * width
        tables = [one[:cut].view(longest, width)[:n] for one, n in zip(received, self._counts, strict=True)]
        columns = torch.split(torch.cat(tables), widths, dim=1)
        found: Outputs = {}
        for place, column in zip(rows, columns, strict=True):
            apart = column.clone(memory_format=torch.contiguous_format)
            found[place.name] = apart.view(place.dtype).view(-1, *place.shape)
        pieces = [torch.split(one[cut:], [_bytes(place) for place in sums]) for one in received] if sums else []
        for number, place in enumerate(sums):
            each = [piece[number].clone().view(place.dtype).view(place.shape) for piece in pieces]
            found[place.name] = torch.stack(each).sum(dim=0)
        return {place.name: found[place.name] for place in places}

    def _same_for_heads(self) -> None:
        """The first process's gradients of the heads for all: theirs differ where a GPU adds in no fixed order."""
        gradients = [value.grad for value in self.heads.parameters() if value.grad is not None]
        if gradients:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.broadcast(flat, src=0)
            for gradient, value in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
                gradient.copy_(value.view_as(gradient))


class _Carrier(nn.Module):
    """What DistributedDataParallel wraps: it hands on what the tuner has computed already, since only when the loss is
    known it is clear which outputs have a gradient."""

    def __init__(self, trained: list[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(trained)
        # A process whose rows lead to no tensor (it may have none) would never answer the others: this one always does.
        self.anchor = nn.Parameter(torch.zeros(()))
        self.idle = nn.Parameter(torch.zeros(()))  # else torch advises not to look for tensors that are not used

    def forward(self, roots: list[Tensor]) -> list[Tensor]:
        """``roots``, and a scalar on which depends whatever has a gradient from an earlier part: it is to be added up
        also where the last part does not lead to it."""
        anchor = self.anchor.clone()  # a leaf itself would not be found in the graph
        for value in self.trained:
            if value.grad is not None:
                anchor = anchor + value.flatten()[0]
        return [*roots, anchor]


def _is_sum(name: str) -> bool:
    return name.startswith(STATISTICS)


def _bytes(place: _Place) -> int:
    return int(torch.Size(place.shape).numel()) * place.dtype.itemsize


def _as_bytes(value: Tensor) -> Tensor:
    return value.contiguous().flatten().view(torch.uint8)
