"""How many steps a run has, which stage each belongs to, and its learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reidtune.config import OptimiserSection, RunConfig
from reidtune.data.record import Record
from reidtune.data.sampler import IdentitySampler, ShuffleSampler
from reidtune.errors import SettingsError
from reidtune.methods.base import Stage
from reidtune.training.optimiser import learning_rate_factor

Sampler = IdentitySampler | ShuffleSampler


@dataclass(frozen=True)
class Plan:
    """The steps of a run: ``ends[i]`` is the step at which stage i is over."""

    stages: tuple[Stage, ...]
    ends: tuple[int, ...]
    steps: int
    steps_per_epoch: int

    def stage_index(self, step: int) -> int:
        return next((index for index, end in enumerate(self.ends) if step < end), len(self.ends) - 1)

    def learning_rate(self, step: int, config: RunConfig) -> float:
        """The learning rate of a step (from 0). Every stage has its own warm-up and cosine; a warm-up longer than half
        of its stage is cut to that. The rate changes every step, where published recipes change it every epoch."""
        index = self.stage_index(step)
        start = self.ends[index - 1] if index else 0
        chosen, length = stage_settings(self.stages[index], config), self.ends[index] - start
        warmup = min(chosen.warmup_epochs * self.steps_per_epoch, length / 2)
        return chosen.lr * learning_rate_factor(
            step - start, length, warmup, chosen.warmup_factor, chosen.final_lr_factor
        )


def plan_steps(stages: tuple[Stage, ...], steps_per_epoch: int, config: RunConfig) -> Plan:
    """Epochs or steps of the whole run, split over the stages by their shares.

    Raises:
        SettingsError: a stage gets no step.
    """
    steps = config.training.steps or config.training.epochs * steps_per_epoch
    total = sum(stage.share for stage in stages)
    done = 0.0
    ends = []
    for stage in stages:
        done += stage.share
        ends.append(round(steps * done / total))
    if any(end <= start for start, end in zip([0, *ends], ends, strict=False)):
        raise SettingsError(
            f"{steps} steps are too few for the {len(stages)} stages of the method.", "Raise --epochs or --steps."
        )
    return Plan(stages, tuple(ends), steps, steps_per_epoch)


def stage_settings(stage: Stage, config: RunConfig) -> OptimiserSection:
    """The recipe's optimiser settings with those of the stage on top."""
    return OptimiserSection.model_validate({**config.optimiser.model_dump(), **stage.optimiser})


def sampler_for(records: Sequence[Record], config: RunConfig, stage: Stage | None = None) -> Sampler:
    """How the settings, or the stage, want batches: P identities × K samples, or every sample once an epoch."""
    training = config.training
    kind = training.sampler if stage is None or stage.sampler is None else stage.sampler
    if kind == "shuffle":
        return ShuffleSampler(records, training.batch_size, config.seed)
    return IdentitySampler(records, training.batch_size // training.instances, training.instances, config.seed)
