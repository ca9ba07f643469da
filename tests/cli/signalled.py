"""The command in a process of its own, stopped by a signal."""

import os
import subprocess
import sys
import time


def signalled(arguments, file, number):
    """Send the signal once ``file`` is there; exit code, stdout and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "reidtune", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        while not file.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err
