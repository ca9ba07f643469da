"""What torchrun tells a process it starts, and which of them speaks. No torch here: every command asks."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """A process among ``size``: its number ``rank`` of all, ``local_rank`` of ``local_size`` on this machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    def command(self) -> str:
        """How as many processes are started again on this machine, without what each runs."""
        several = "" if self.size == self.local_size else f"--nnodes {self.size // self.local_size} "
        return f"torchrun {several}--nproc-per-node {self.local_size} -m reidtune"


def launched() -> Launch | None:
    """What torchrun says in the environment; ``None`` where it did not start this process."""
    if any(not os.environ.get(name) for name in _NEEDED):
        return None
    try:
        rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        return Launch(rank, size, local, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    except ValueError:
        return None


def program() -> str:
    """How this program was started: ``reidtune``, or as many of it by torchrun."""
    launch = launched()
    return "reidtune" if launch is None else launch.command()


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Within, only the first of the processes prints: what the others write to stdout and stderr is dropped."""
    launch = launched()
    if launch is None or launch.rank == 0:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):  # noqa: PTH123
        yield


def speaks_of_failure(message: str) -> bool:
    """Whether this process is to tell the user why the job ends: the first that asks. The others end because of it."""
    if launched() is None:
        return True
    first = True
    with contextlib.suppress(Exception):  # where the others cannot be asked: better said twice than not at all
        from reidtune.training.distributed import failed_first

        first = failed_first()
    if first:
        _leave_word(message)
    return first


def _leave_word(message: str) -> None:
    """Where torchrun looks for the reason of a failure, which it then prints as the root cause, below much else."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        said = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
        with contextlib.suppress(OSError):
            Path(path).write_text(json.dumps(said), encoding="utf-8")
