"""Ctrl-C and SIGTERM: requests where something is to be saved first, and stops at once where nothing is."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from reidtune.errors import ReidtuneError
from reidtune.launch import launched

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE = 0.3  # seconds within which two signals of a kind are one: timeout(1) sends it to the process and to its group


class Interrupted(ReidtuneError):  # noqa: N818 - not a failure
    """The user (or the system) asked the run to stop; its state is saved."""

    def __init__(self, message: str, hint: str, number: int = signal.SIGINT) -> None:
        super().__init__(message, hint)
        self.number = number
        self.exit_code = 128 + number


class StopNow(KeyboardInterrupt):
    """Raised by a signal itself, wherever the program is. ``again``: it is the second one, and nothing is saved."""

    def __init__(self, number: int, again: bool = False) -> None:
        super().__init__()
        self.number = number
        self.again = again


class StopRequest:
    """Becomes set at the first Ctrl-C or SIGTERM; a second one stops at once. ``phase``: before, during or after
    what the command is for."""

    def __init__(self) -> None:
        self.phase = "before"
        self.number: int | None = None
        self._received = 0.0
        self._now = False

    def __bool__(self) -> bool:
        return self.number is not None

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, already the first signal stops: for work of minutes that changes nothing, such as validation.

        Raises:
            StopNow: at any place within, and at its beginning where a signal came before.
        """
        with self._mode(now=True):
            if self.number is not None:
                raise StopNow(self.number)
            yield

    @contextlib.contextmanager
    def _mode(self, now: bool) -> Iterator[None]:
        before, self._now = self._now, now
        try:
            yield
        finally:
            self._now = before

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        if not again:
            self.number, self._received = number, time.monotonic()
        elif number == self.number and time.monotonic() - self._received < _ONE:
            return
        if again or self._now:
            raise StopNow(number, again)


_active: StopRequest | None = None  # of the main thread


@contextlib.contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Within, Ctrl-C and SIGTERM are requests that whoever works honours between two pieces of work. Used within
    itself, it gives the same request."""
    global _active
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest()
        return
    if _active is not None:
        with _active._mode(now=False):
            yield _active
        return
    request = StopRequest()
    before = {kind: signal.signal(kind, request._receive) for kind in _SIGNALS}
    _active = request
    try:
        yield request
    finally:
        _active = None
        # torchrun stops its other processes as soon as one ends: what they still say is to be heard.
        if launched() is None:
            for kind, handler in before.items():
                signal.signal(kind, handler)
