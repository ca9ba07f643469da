"""Whatever stops a run leaves a state to go on from, and the user is told how."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reidtune.errors import ReidtuneError
from reidtune.training.out_of_memory import OutOfMemory, asked_for
from reidtune.training.state import Progress, save_state
from reidtune.training.stop import Interrupted, StopNow, StopRequest


class Guard:
    """Saves the state of a run where it is whole: between two steps of the optimiser, or before the one that failed.

    ``tuner``, ``objective`` and ``optimiser`` are saved with ``progress``, all as they are at that moment.
    """

    def __init__(
        self,
        run: Path,
        progress: Progress,
        identity: dict[str, Any],
        command: str,
        tuner: nn.Module,
        objective: nn.Module,
        optimiser: torch.optim.Optimizer,
        writes: bool = True,
    ) -> None:
        self.run, self.progress, self.identity, self.command = run, progress, identity, command
        self.modules = (tuner, objective)
        self.optimiser = optimiser
        self.writes = writes  # else another process does
        self.saved = time.monotonic()  # when
        self._step = progress.step  # of the saved state
        self._whole = True
        self._doing = ""
        self._stop = StopRequest()
        self._moving = [place for module in self.modules for place in _buffers(module)]

    def keep(self) -> None:
        """Save the state; see :func:`reidtune.training.state.save_state`."""
        if self.writes:
            tuner, objective = self.modules
            modules: dict[str, Any] = {"tuner": tuner, "objective": objective, "optimiser": self.optimiser}
            state = {name: module.state_dict() for name, module in modules.items()}
            whole, self._whole = self._whole, False  # where this fails, it is not tried again
            save_state(self.run, self.progress, self.identity, state, self.command)
            self._whole = whole
        self.saved, self._step = time.monotonic(), self.progress.step

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """A step up to the optimiser's: where it fails, all is as before. What the forward pass moves itself (running
        means, centres) is put back."""
        before = [(owner, name, getattr(owner, name).clone()) for owner, name in self._moving]
        try:
            yield
        except BaseException:
            self._whole = False
            self.optimiser.zero_grad(set_to_none=True)
            with torch.no_grad():
                for owner, name, value in before:
                    getattr(owner, name).copy_(value)
            self._whole = True
            raise

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """Tuner, optimiser and progress move together: where it fails in between, the state is not saved."""
        self._whole = False
        yield
        self._whole = True

    @contextlib.contextmanager
    def apart(self, what: str) -> Iterator[None]:
        """Work of minutes that changes nothing: a signal stops it at once. ``what`` it is, for messages."""
        self._doing = what
        with self._stop.at_once():
            yield
        self._doing = ""

    @contextlib.contextmanager
    def leaving(self, stop: StopRequest, steps: int) -> Iterator[None]:
        """Whatever ends the block with an error: the state is saved if it is whole, and the error says how to go on.

        Raises:
            Interrupted: for :class:`StopNow`; a second signal saves nothing.
            OutOfMemory: for what torch and NumPy raise where there is no memory.
        """
        self._stop = stop
        try:
            yield
        except Interrupted:
            raise
        except StopNow as now:
            raise self._stopped(now, steps) from None
        except Exception as error:
            with contextlib.suppress(ReidtuneError):  # the first error says more
                self._keep_if_whole()
            if (asked := asked_for(error)) is not None:
                raise self._out_of_memory(asked) from error
            if isinstance(error, ReidtuneError) and self.command not in error.hint:
                hint = f"{error.hint} Then go on with: {self.command}".strip()
                raise type(error)(error.message, hint) from error
            raise

    def interrupted(self, number: int | None, steps: int, again: bool = False) -> Interrupted:
        """The error that says where the run stopped and how it goes on."""
        said = "Stopped at once by the second signal" if again else "Interrupted"
        message = f"{said} at step {self.progress.step} of {steps}; nothing is lost, the state is in {self.run}."
        if self._step != self.progress.step or not self._whole:
            message = f"{said}; the state of step {self._step} of {steps} is in {self.run}."
        return Interrupted(message, f"Go on with: {self.command}", number or signal.SIGINT)

    def _out_of_memory(self, asked: str) -> OutOfMemory:
        at = self._doing or f"step {self.progress.step + 1} (epoch {self.progress.epoch + 1})"
        message = f"There is not enough memory for {at}: {asked} was asked for. "
        message += f"The state of step {self._step} is saved in {self.run}."
        hint = f"Free memory, or use another --device, then go on with: {self.command}"
        return OutOfMemory(message, hint, in_step=not self._doing)

    def _stopped(self, now: StopNow, steps: int) -> Interrupted:
        if not now.again:
            try:
                self._keep_if_whole()
            except StopNow as second:
                now = second
        return self.interrupted(now.number, steps, now.again)

    def _keep_if_whole(self) -> None:
        if self._whole:
            self.keep()


def _buffers(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where the buffers are that a state holds: owner and name."""
    kept = module.state_dict()
    places = [name.rpartition(".") for name, _ in module.named_buffers() if name in kept]
    return [(module.get_submodule(path), name) for path, _, name in places]
