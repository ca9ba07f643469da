"""Ctrl-C and SIGTERM at any time of a training, in real processes: what is said, the exit code, and what is left."""

import signal

import pytest

from reidtune.training.state import load_state

STEPS = 4


@pytest.fixture(scope="module")
def settings(small_world, small_backbone):
    return [
        *(str(small_world), "--method", "staged", "--image-size=32x16", f"--steps={STEPS}", "--batch-size=8"),
        *(f"--backbone=local-dir:{small_backbone.architecture.folder}", "--workers=0", "--lr=3e-3"),
        *("--set", "training.validate_every=1", "--set", "data.validation_fraction=0.3"),
    ]


@pytest.fixture(scope="module")
def server(training_server):
    return training_server


@pytest.fixture(scope="module")
def whole(server, settings, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    assert server("", arguments=["train", *settings, "--output", str(run)])["code"] == 0
    return run


def stopped(server, settings, run, code, **task):
    told = server("", arguments=["train", *settings, "--output", str(run)], **task)
    assert told["code"] == code, told
    assert told["seconds"] < 60  # what was stopped would last 100
    assert "Traceback" not in told["said"]
    return " ".join(told["said"].split())


def go_on(server, run, whole):
    assert server("", arguments=["train", "--resume", str(run)])["code"] == 0
    for name in ("delta.safetensors", "metrics.csv", "recipe.toml"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("number", "code", "during"),
    [
        (signal.SIGTERM, 143, "reidtune.training.open:open_datasets"),
        (signal.SIGINT, 130, "reidtune.training.prepare:check_files"),
        (signal.SIGTERM, 143, "reidtune.training.prepare:load_backbone"),
    ],
)
def test_before_the_training_nothing_is_left(server, settings, tmp_path, number, code, during):
    run = tmp_path / "a run"
    said = stopped(server, settings, run, code, during=during, signals=[number])
    assert "Stopped before the training began; nothing was written." in said
    assert f"Start it again with: reidtune train {settings[0]} --method staged" in said
    assert f"--output '{run}'" in said
    assert not run.exists()


@pytest.mark.parametrize(
    ("during", "call", "step"),
    [
        ("reidtune.training.validation:validate", 1, 0),
        ("reidtune.training.validation:validate", 2, 1),  # of the last epoch of the first stage
        ("reidtune.training.validation:validate", 3, STEPS),
        ("tests.training.staged:Staged.begin", 1, 0),
        ("tests.training.staged:Staged.begin", 2, 1),
    ],
)
def test_validations_and_beginnings_of_stages_are_stopped_at_once(
    server, settings, whole, tmp_path, during, call, step
):
    run = tmp_path / "run"
    number, code = (signal.SIGINT, 130) if call == 1 else (signal.SIGTERM, 143)
    said = stopped(server, settings, run, code, during=during, call=call, signals=[number])
    assert f"Interrupted at step {step} of {STEPS}; nothing is lost" in said
    assert f"Go on with: reidtune train {settings[0]} --resume {run}" in said
    assert load_state(run)[0].step == step
    go_on(server, run, whole)


def test_within_a_step_the_first_signal_waits_and_the_second_does_not(server, settings, whole, tmp_path):
    step = {"during": "reidtune.training.loop:measure", "call": 2, "signals": [signal.SIGTERM]}
    said = stopped(server, settings, tmp_path / "one", 143, **step, lasts=0.1)
    assert f"Interrupted at step 2 of {STEPS}; nothing is lost" in said
    go_on(server, tmp_path / "one", whole)

    twice = step | {"signals": [signal.SIGTERM, signal.SIGTERM]}
    said = stopped(server, settings, tmp_path / "two", 143, **twice, apart=0.5)
    assert f"Stopped at once by the second signal at step 1 of {STEPS}; nothing is lost" in said
    go_on(server, tmp_path / "two", whole)


def test_a_signal_sent_twice_as_timeout_does_is_one(server, settings, tmp_path):
    step = {"during": "reidtune.training.loop:measure", "call": 2, "signals": [signal.SIGTERM, signal.SIGTERM]}
    said = stopped(server, settings, tmp_path / "run", 143, **step, lasts=0.1)
    assert f"Interrupted at step 2 of {STEPS}; nothing is lost" in said
