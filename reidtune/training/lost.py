"""A process of the team that is gone, as the others notice it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from reidtune.errors import ReidtuneError

# Words of torch's own errors where another process does not answer; the type is RuntimeError for most of them.
_SIGNS = ("connection closed", "connection reset", "broken pipe", "timed out", "timeout", "gloo", "nccl", "socket")


class ProcessLost(ReidtuneError):  # noqa: N818 - what happened, as users read it
    """Another process of the job ended, or does not answer."""


@contextmanager
def reached() -> Iterator[None]:
    """What torch raises in the block where another process does not answer becomes :class:`ProcessLost`."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError):
            raise
        if not (isinstance(error, dist.DistError) or any(sign in said for sign in _SIGNS)):
            raise
        raise ProcessLost(
            "Another process of this training ended or does not answer, so it cannot go on.",
            "If that process said why, it stands above; torchrun says below how it ended.",
        ) from error
