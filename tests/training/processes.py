"""Several processes in a test, as torchrun would start them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import torch
import torch.multiprocessing


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def several(size: int, work, folder: Path) -> list:
    """What ``work(team)`` gives in each of ``size`` new processes; it must be importable."""
    torch.multiprocessing.spawn(_start, (size, free_port(), work, folder), nprocs=size)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _start(rank: int, size: int, port: int, work, folder: Path) -> None:
    torch.set_num_threads(1)
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ.update({name: str(value) for name, value in own.items()}, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    from reidtune.training.distributed import joined

    with joined("cpu") as team:
        found = work(team)
    torch.save(found, folder / f"{rank}.pt")
