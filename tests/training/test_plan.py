import pytest

from reidtune.config import RunConfig
from reidtune.errors import SettingsError
from reidtune.methods.base import Stage
from reidtune.training.open import open_run
from reidtune.training.plan import dry_run
from reidtune.training.schedule import plan_steps


def test_a_dry_run_counts_and_writes_nothing(small_world, small_backbone, tmp_path):
    flags = {
        "method": "lora",
        "backbone.name": f"local-dir:{small_backbone.architecture.folder}",
        "backbone.image_size": "32x16",
        "training.epochs": 3,
        "training.batch_size": 8,
        "data.validation_fraction": 0.3,
    }
    run = open_run(str(small_world), None, flags, output=tmp_path / "run")
    prepared = run.prepare()
    plan = dry_run(prepared)
    assert not (tmp_path / "run").exists()
    assert plan["parameters"]["trainable"] == 2048
    assert plan["parameters"]["backbone"] == small_backbone.parameter_count()
    assert plan["data"]["training"]["identities"] == len({r.identity for r in prepared.train})
    memory = plan["memory"]
    assert memory["activation_bytes_per_batch"] == 8 * memory["activation_bytes_per_image"] > 0

    class Silent:
        start = step = epoch = staticmethod(lambda *a: None)

    result = run.train(prepared, Silent())
    assert abs(result["bytes"] / plan["bytes"] - 1) < 0.3
    assert plan["steps"]["total"] == 3 * plan["steps"]["per_epoch"]


def test_stages_share_the_steps_and_have_their_own_schedule():
    config = RunConfig.model_validate({"training": {"epochs": 10}, "optimiser": {"warmup_epochs": 1.0}})
    stages = (Stage("prompts", share=1.0), Stage("backbone", share=3.0))
    plan = plan_steps(stages, 4, config)
    assert (plan.steps, plan.ends) == (40, (10, 40))
    assert [plan.stages[plan.stage_index(step)].name for step in (0, 9, 10, 39)] == [
        "prompts",
        "prompts",
        "backbone",
        "backbone",
    ]
    lr = config.optimiser.lr
    assert plan.learning_rate(4, config) == lr
    assert plan.learning_rate(10, config) == lr * config.optimiser.warmup_factor  # the second stage warms up again
    with pytest.raises(SettingsError, match="1 steps are too few for the 2 stages"):
        plan_steps(stages, 4, RunConfig.model_validate({"training": {"steps": 1}}))
    assert plan_steps(stages, 4, RunConfig.model_validate({"training": {"steps": 8}})).ends == (2, 8)
