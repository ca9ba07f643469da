"""A loss or a gradient that is not finite: seen before the optimiser's step, so the tuner stays good."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reidtune.data.record import Record
from reidtune.data.scan import show
from reidtune.errors import ReidtuneError
from reidtune.files import not_written, write_whole

BAD_BATCH = Path("state") / "bad-batch.json"
LAST_GOOD = Path("state") / "last-good.safetensors"
_SHOWN = 3  # files and tensors in the message


@dataclass(frozen=True)
class Measured:
    """What a step gave: its ``loss``, the parts of it before weighting, the norm of the gradient before clipping."""

    loss: float
    parts: dict[str, float]
    norm: float

    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def measure(
    loss: Tensor, parts: Mapping[str, Tensor], parameters: Sequence[Tensor], clip_norm: float | None
) -> Measured:
    """Read all numbers of the step from the device at once, and clip the gradients of ``parameters`` to ``clip_norm``,
    unless one is not finite (clipping would spread a NaN to all of them).

    The norm is finite where every gradient is, unless it overflows, which is no gradient to go on with either.
    """
    norm = torch.nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None])
    scalars = [loss, *parts.values(), norm]
    read = torch.stack([value.detach().to(loss.device, torch.float32).reshape(()) for value in scalars]).tolist()
    found = Measured(read[0], dict(zip(parts, read[1:-1], strict=True)), read[-1])
    if clip_norm is not None and found.finite():
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    return found


def not_finite(
    measured: Measured,
    *,
    step: int,
    epoch: int,
    rate: float,
    indices: Sequence[int],
    records: Sequence[Record],
    named: Callable[[], Sequence[tuple[str, nn.Parameter]]],
    run: Path,
    save: Callable[[Path], None],
    again: str,
    anew: str,
) -> ReidtuneError:
    """The error that says what was not finite, in which step (from 1), on which files, and how to go on.

    ``indices`` are those of the batch among ``records``; ``named`` gives the tensors that are trained. The batch is
    written to :data:`BAD_BATCH` of the run folder, the delta of the tuner before the step by ``save`` to
    :data:`LAST_GOOD`. ``again`` is the command that resumes the run, ``anew`` the one that starts it with a lower rate.
    """
    what = _what(measured, named)
    batch = [records[index] for index in indices]
    files = [image.path for record in batch for image in record.images]
    shown = ", ".join(f'"{show(path)}"' for path in files[:_SHOWN])
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    content = {
        "schema": 1,
        "what": what,
        "step": step,
        "epoch": epoch,
        "learning_rate": rate,
        "loss": _number(measured.loss),
        "parts": {name: _number(value) for name, value in measured.parts.items()},
        "gradient_norm": _number(measured.norm),
        "samples": [_sample(index, record) for index, record in zip(indices, batch, strict=True)],
    }
    path = run / BAD_BATCH
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, indent=2) + "\n")
        where = f"all in {path}"
    except OSError as error:
        where = not_written(path, error, "").message
    save(run / LAST_GOOD)
    start = shlex.join(
        ["--recipe", str(run / "recipe.toml"), "--init-from", str(run / LAST_GOOD), "--output", f"{run}-lower"]
    )
    return ReidtuneError(
        f"{what} at step {step} (epoch {epoch}, learning rate {rate:g}). Its batch: {shown}{more} ({where}). The step "
        f"was not taken: the state before it is saved in {run}, its delta is {run / LAST_GOOD}.",
        f"A lower rate is a new run, which may begin with that delta: {anew} {start}\n"
        f"The same run repeats this very step, with the same result unless files or device have changed: {again}",
    )


def _what(measured: Measured, named: Callable[[], Sequence[tuple[str, nn.Parameter]]]) -> str:
    if not math.isfinite(measured.loss):
        parts = [f"{name} {value:g}" for name, value in measured.parts.items()]
        bad = [name for name, value in measured.parts.items() if not math.isfinite(value)]
        which = f" in {' and '.join(bad)}" if bad else " in the sum of its parts"
        return f"The loss became {measured.loss:g}{which} ({', '.join(parts)})"
    bad = [name for name, value in named() if value.grad is not None and not bool(value.grad.isfinite().all())]
    which = ", ".join(bad[:_SHOWN]) + (f" and {len(bad) - _SHOWN} more tensors" if len(bad) > _SHOWN else "")
    where = f" in {which}" if bad else " in its norm"
    return f"The gradient became {measured.norm:g}{where}, while the loss is {measured.loss:g},"


def _sample(index: int, record: Record) -> dict[str, Any]:
    return {
        "index": index,
        "files": [show(image.path) for image in record.images],
        "identity": record.identity,
        "camera": record.camera,
        "captions": list(record.captions),
    }


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no NaN
