"""Trainings that are killed, for tests: real processes, forked from one that has torch and the backbone at hand.

Run as a program it reads one JSON task a line, forks for each, and answers how the child ended. A task says where the
run is, and where it is to be killed: after ``seconds``, or around the ``at``-th of its operations on files. ``largest``
is the size in bytes that no file may exceed.
"""

import dataclasses
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPERATIONS = ("fsync", "replace", "unlink", "mkdir")


class Server:
    """``server(run, …)`` answers one task; see :func:`serve`."""

    def __init__(self):
        command = [sys.executable, "-c", "from tests.training.killing import serve; serve()"]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def prepare(self, name, world, flags):
        """Have a training at hand, under a name."""
        self._ask({"prepare": name, "world": str(world), "flags": flags})

    def __call__(self, run, **task):
        """``{"code", "seconds", "operations", "said"}``: exit code (negative: the signal) and what was counted."""
        return self._ask({"run": str(run), **task})

    def _ask(self, task):
        print(json.dumps(task), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, "the server of trainings has died"
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def serve():
    """Read the setup, then tasks; all that is printed by trainings goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(found):
        print(json.dumps(found), file=answers, flush=True)

    from reidtune.methods import registry
    from reidtune.training.open import open_run

    registry._PAGES["staged"] = "tests.training.staged:Staged"
    known = {}
    for line in sys.stdin:
        task = json.loads(line)
        if "prepare" in task:
            opened = open_run(task["world"], None, task["flags"], output=Path(os.devnull), force=True)
            known[task["prepare"]] = opened, opened.prepare()
            answer({})
            continue
        reading, writing = os.pipe()
        begun = time.monotonic()
        if not (child := os.fork()):
            os.close(reading)
            if "arguments" in task:
                _command(task, writing)
            _child(task, *known[task["training"]], writing)
        os.close(writing)
        if task.get("seconds") is not None:
            time.sleep(task["seconds"])
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reading) as told:
            said = told.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer({"code": code, "seconds": time.monotonic() - begun, **json.loads(said or "{}")})


def _child(task, opened, prepared, writing):
    """Start the run, or go on with it, whatever there is in its folder."""
    from reidtune.training import loop
    from reidtune.training.folder import holds_run
    from reidtune.training.open import open_run
    from tests.training.reporter import Silent

    code = 1
    try:
        if "largest" in task:
            resource.setrlimit(resource.RLIMIT_FSIZE, (task["largest"], resource.RLIM_INFINITY))
        run = Path(task["run"])
        if holds_run(run):
            again = open_run(None, None, {}, resume=run)
            chosen = dataclasses.replace(opened, output=run, resumes=again.resumes)
        else:
            chosen = dataclasses.replace(opened, output=run)
        make = loop.Task

        def often(**values):
            return make(**values, save_seconds=task.get("save_seconds", 0.0))

        from reidtune.training import run as module

        module.Task = often
        done = _count(task)
        chosen.train(prepared, Silent())
        os.write(writing, json.dumps({"operations": done}).encode())
        code = 0
    finally:
        os._exit(code)


def _command(task, writing):
    """Run a command line; ``signals`` are sent to this process, ``apart`` seconds from each other, when the function
    ``during`` (module:name) is called for the ``call``-th time, which then takes for ever."""
    import importlib

    from reidtune.cli.app import run

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    sys.stderr = said = io.StringIO()
    if "during" in task:
        module, _, path = task["during"].partition(":")
        *owners, name = path.split(".")
        owner = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        real, calls = getattr(owner, name), []

        def slow(*args, **kwargs):
            calls.append(1)
            if len(calls) == task.get("call", 1):
                for number in task["signals"]:
                    os.kill(os.getpid(), number)
                    time.sleep(task.get("apart", 0))
                time.sleep(task.get("lasts", 100))
            return real(*args, **kwargs)

        setattr(owner, name, slow)
    code = 1
    try:
        code = run(task["arguments"])
        os.write(writing, json.dumps({"said": said.getvalue()}).encode())
    finally:
        os._exit(code)


def _count(task):
    """Count operations on files, and kill this process before or after one of them, or half-way through a state."""
    import torch

    done = []

    def counted(name, real):
        def operation(*args, **kwargs):
            if len(done) == task.get("at") and task.get("when") == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(name)
            last = len(done) - 1 == task.get("at")
            try:
                return real(*args, **kwargs)
            finally:
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return operation

    for name in OPERATIONS:
        setattr(os, name, counted(name, getattr(os, name)))

    saves, save = [], torch.save

    def torn(content, file):
        saves.append(1)
        if len(saves) - 1 == task.get("torn"):
            whole = io.BytesIO()
            save(content, whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(content, file)

    torch.save = torn
    return done
