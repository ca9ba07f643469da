"""torchrun itself: a worker that is killed ends the job with one sentence, and one process goes on with the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from reidtune.delta import read_tensors
from reidtune.training.open import open_run
from reidtune.training.state import load_state
from tests.training.reporter import Silent

ROOT = Path(__file__).parents[2]
STEPS = 80
FLAGS = {
    "method": "lora",
    "backbone.name": "tiny",
    "training.steps": STEPS,
    "training.batch_size": 8,
    "training.validate_every": 1000,
    "optimiser.eps": 1e-3,
    "optimiser.lr": 1e-5,
    "data.validation_fraction": 0.0,
}


def start(world, output):
    words = [f"--set={name}={value}" for name, value in FLAGS.items() if name not in ("method", "backbone.name")]
    command = ["train", str(world), "--method", "lora", "--backbone", "tiny", "--output", str(output), *words]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "reidtune"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*torchrun, *command],
        cwd=output.parent,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def workers(agent):
    """The processes that torchrun started, by their rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            values = (folder / "environ").read_bytes().split(b"\0") if parent == agent else []
        except OSError:
            continue
        found |= {int(value[5:]): int(folder.name) for value in values if value.startswith(b"RANK=")}
    return found


def test_a_killed_worker_ends_the_job_and_the_run_goes_on(small_world, tmp_path):
    output = tmp_path / "run"
    with start(small_world, output) as job:
        state = output / "state" / "last.pt"
        while job.poll() is None and not state.exists():
            time.sleep(0.05)
        begun = state.stat().st_mtime_ns
        while job.poll() is None and state.stat().st_mtime_ns == begun:  # an epoch has ended
            time.sleep(0.01)
        os.kill(workers(job.pid)[1], signal.SIGKILL)
        _, told = job.communicate(timeout=60)
    assert job.returncode == 1
    assert told.count("Error: Another process of this training ended") == 1
    assert f"--nproc-per-node 2 -m reidtune train {small_world} --resume {output}" in told
    assert 0 < load_state(output)[0].step < STEPS
    go_on = open_run(None, None, {}, resume=output)
    go_on.train(go_on.prepare(), Silent())
    whole = open_run(str(small_world), None, FLAGS, output=tmp_path / "whole")
    whole.train(whole.prepare(), Silent())
    one, two = (read_tensors(run / "delta.safetensors") for run in (output, tmp_path / "whole"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) <= 1e-5
