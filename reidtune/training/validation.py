"""The validation of a training: metrics of the model as it is, on images that are the same every time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch

from reidtune.data.workers import choose_workers
from reidtune.retrieval.embed import FrozenInputs
from reidtune.retrieval.validate import CARVED_SPLIT, OWN_SPLIT, validate, validate_text
from reidtune.team import ALONE, Team
from reidtune.training.precision import autocast
from reidtune.training.prepare import Prepared


class Validation:
    """Gives the metrics when it is called; what of the images stays the same is computed with the first call.

    All processes of a ``team`` call it, and share the work; ``say`` gets sentences for the user.
    """

    def __init__(self, prepared: Prepared, say: Callable[[str], None], team: Team = ALONE) -> None:
        self._prepared, self._say, self._team = prepared, say, team

    def __call__(self) -> dict[str, Any]:
        """Metrics as fractions, by name, with how they were obtained.

        Raises:
            DataError: an image cannot be read.
        """
        prepared, training, model = self._prepared, self._prepared.config.training, self._prepared.model
        backbone = model.backbone
        model.tuner.eval()
        options: dict[str, Any] = {
            "batch_size": training.batch_size,
            "workers": choose_workers(training.workers, backbone.device),
            "frozen": self._frozen,
            "team": self._team,
        }
        with autocast(model, training.precision):
            if prepared.dataset.task == "text":
                found = validate_text(
                    model.encode,
                    model.encode_texts,
                    backbone.tokenizer,
                    backbone.preprocess,
                    prepared.validation,
                    split=CARVED_SPLIT if prepared.carved else OWN_SPLIT,
                    **options,
                )
            else:
                found = validate(
                    model.encode,
                    backbone.preprocess,
                    prepared.validation,
                    prepared.protocol,
                    modalities=model.modalities,
                    **options,
                )
        return self._team.of_first(lambda: found)  # what follows from them must be the same in all processes

    @cached_property
    def _frozen(self) -> FrozenInputs | None:
        """What stands for the images of records, [B, ...]."""
        rows = self._prepared.frozen_validation.open(say=self._say, team=self._team)
        if rows is None:
            return None
        places = {id(record): place for place, record in enumerate(self._prepared.validation)}
        return lambda records: rows.take(torch.tensor([places[id(record)] for record in records]))
