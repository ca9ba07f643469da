"""Progress on a terminal's stderr: a bar while it goes on, one line an epoch; nothing where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class TerminalReporter:
    """Shows how a training goes. A line an epoch is printed also where stderr is a file; the bar only on a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> TerminalReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def start(self, done: int, steps: int) -> None:
        if done >= steps:
            self.console.print(f"All {steps} steps are done already.")
            return
        if done:
            self.console.print(f"Going on at step {done} of {steps}.")
        if self.console.is_terminal and not self.console.quiet:
            self._progress = _bar(self.console, "steps")
            self._bar = self._progress.add_task("Training", total=steps, completed=done)
            self._progress.start()

    def step(self, step: int, loss: float) -> None:
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=step, description=f"Training, loss {loss:.3f}")

    def epoch(self, row: dict[str, Any]) -> None:
        words = [f"epoch {row['epoch']:>3}" if row["epoch"] else "before   "]
        if "loss" in row:
            words.append(f"loss {row['loss']:.3f}")
        if "validation mAP" in row:
            words.append(
                f"validation rank-1 {100 * row['validation rank-1']:5.1f}  mAP {100 * row['validation mAP']:5.1f}"
            )
        if len(words) > 1:
            self.console.print("   ".join(words))


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for ``(done, total)`` counts, on a terminal only; it appears with the first count."""
    if not console.is_terminal or console.quiet:
        yield lambda done, total: None
        return
    with _bar(console, "") as progress:
        task = progress.add_task(what, total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def _bar(console: Console, unit: str) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)
