"""Ends a process that was told to stop but cannot hear it, since it waits for another process that is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SOON = 1.0  # seconds, where nothing is to be saved
STEP = 20.0  # seconds, where a step is to be finished and saved; torchrun itself kills after 30


@dataclass
class Watch:
    """For how many seconds after a signal the main thread is waited for."""

    patience: float = SOON


@contextmanager
def watched(say: Callable[[int], None], patience: float = SOON) -> Iterator[Watch]:
    """Within, a signal whose handler is Python's must end the block within ``patience`` seconds (which may change
    meanwhile); else ``say`` is called with its number and the process ends with 128 + that number.

    Python calls handlers between two steps of its own in the main thread, and none is taken in a collective operation
    that waits. The number of a signal arrives here nevertheless: the system's handler writes it to a socket.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Watch()
        return
    found = Watch(patience)
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    left = threading.Event()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while number := reading.recv(1):
                if number[0] in (signal.SIGTERM, signal.SIGINT):
                    break
            else:
                return
            if not left.wait(found.patience):
                say(number[0])
                os._exit(128 + number[0])

    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=watch, name="watch", daemon=True).start()
    try:
        yield found
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        writing.close()
