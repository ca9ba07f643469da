"""A process that waits in a collective for one that is gone ends when it is told to stop."""

import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import signal, sys, time
from datetime import timedelta
import torch.distributed as dist
from reidtune.training.watch import watched

signal.signal(signal.SIGTERM, lambda number, frame: None)
with watched(lambda number: print("said", number, flush=True), patience=float(sys.argv[1])):
    print("ready", flush=True)
    if sys.argv[2] == "collective":  # nothing of Python runs in here
        dist.TCPStore("127.0.0.1", 0, is_master=True).wait(["never"], timedelta(seconds=60))
    time.sleep(float(sys.argv[2]))
print("left", flush=True)
time.sleep(float(sys.argv[3]))
"""


def run(patience, what, then=0):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(patience), what, str(then)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        return process.stdout.read(), process.wait(30)


def test_who_waits_for_another_process_is_ended():
    assert run(0.2, "collective") == (f"said {int(signal.SIGTERM)}\n", 128 + signal.SIGTERM)


def test_who_stops_in_time_is_left_alone():
    assert run(1.5, "0.3", then=2) == ("left\n", 0)
