"""Reporters for trainings in tests: one that keeps what it is told, one that stops the run."""

import os
import signal


class Silent:
    def __init__(self):
        self.rows, self.steps = [], 0

    def start(self, done, steps):
        self.done, self.total = done, steps

    def step(self, step, loss):
        self.steps += 1

    def epoch(self, row):
        self.rows.append(row)


class InterruptAt(Silent):
    """Sends the signal when a step is reached, as a user would."""

    def __init__(self, at, number=signal.SIGINT):
        super().__init__()
        self.at, self.number = at, number

    def step(self, step, loss):
        super().step(step, loss)
        if step == self.at:
            os.kill(os.getpid(), self.number)
