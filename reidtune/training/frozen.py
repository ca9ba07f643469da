"""What of the image tower is the same in every epoch, computed once and read instead of images.

Where a method has no part in the first b blocks and images are not augmented (those of a validation never are), the
rows [N, d] that enter block b are functions of the image file and the frozen weights alone. They are kept in the cache
folder, memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from reidtune.backbone.walk import Walk
from reidtune.config import RunConfig
from reidtune.data.loader import eval_loader
from reidtune.data.record import ImageFile, Record
from reidtune.data.transforms import EvalTransform
from reidtune.data.workers import choose_workers
from reidtune.errors import ReidtuneError
from reidtune.methods.base import Stage
from reidtune.model import Model
from reidtune.paths import cache_folder
from reidtune.retrieval.feature_cache import code_stamp, record_key
from reidtune.team import ALONE, Team, in_rounds
from reidtune.training.precision import autocast
from reidtune.training.row_file import DTYPES, DamagedError, file_bytes, lacking_room, map_rows, write_rows
from reidtune.tuning.tuner import Tuner
from reidtune.units import precise_bytes

CHUNK = 64  # images computed at once; the same whoever computes them, so that the values are
_SAMPLES = 3  # images computed again where a file is found
_TOLERANCE = {"fp32": 1e-3, "bf16": 3e-2}  # of the largest entry; other weights are far beyond it
AUGMENTED = "images are augmented"
_UNAUGMENTED = " ".join(f"--set augmentation.{name}=0" for name in ("flip", "pad", "erase"))

Say = Callable[[str], None]


@dataclass(frozen=True)
class FrozenRows:
    """Rows of the ``table`` [images, ...] for each training sample; ``places`` [samples] or [samples, M] says which,
    −1 where a sample lacks a modality. ``stage`` names the only stage that reads them; ``None``: all that read
    images."""

    table: Tensor
    places: Tensor
    stage: str | None

    def serves(self, stage: Stage) -> bool:
        return stage.images if self.stage is None else stage.name == self.stage

    def take(self, indices: Tensor) -> Tensor:
        """Those of the samples ``indices`` [B]: float32 [B, ...] or [B, M, ...], zeros where there is no image."""
        places = self.places[indices]
        rows = self.table[places.clamp(min=0).flatten()].float().view(*places.shape, *self.table.shape[1:])
        rows[places < 0] = 0
        return rows


@dataclass(frozen=True)
class Frozen:
    """What could be computed once for a training, or for its validations (``of_validation``), and whether it is.

    ``block``: the first block that the method has a part in; the number of blocks: what leaves the last one is kept;
    one more: the features. ``reason`` says why it is not done, ``None``: it is. ``share`` is that of the image tower's
    forward FLOPs (counted on one image), ``shape`` and ``dtype`` what is kept of an image.
    """

    model: Model
    config: RunConfig
    images: tuple[ImageFile, ...]
    places: Tensor
    block: int
    shape: tuple[int, ...]
    dtype: str
    share: float
    stage: str | None = None
    reason: str | None = None
    of_validation: bool = False

    def unless(self, reason: str | None) -> Frozen:
        """The same, not done where there is a reason."""
        return replace(self, reason=reason)

    @property
    def layers(self) -> int:
        return self.model.backbone.image.layers

    @property
    def augmented(self) -> bool:
        """Whether it is not done for that reason alone."""
        return self.reason == AUGMENTED

    @property
    def features(self) -> bool:
        return self.block > self.layers

    @property
    def reads_no_image(self) -> bool:
        """Whether no stage of the training reads images, once the rows are there."""
        return self.reason is None and self.stage is None

    @property
    def bytes(self) -> int:
        return file_bytes(len(self.images), self.shape, self.dtype)

    @cached_property
    def path(self) -> Path:
        """Where the rows are kept: named by all that they depend on."""
        return cache_folder() / "frozen" / f"{self.key()}.safetensors"

    def key(self) -> str:
        """A hash of weights and switches, preprocessing, block, precision, the files of the images and their order, the
        code and the versions of its packages, and what else may change the last bit: device and threads."""
        backbone = self.model.backbone
        device = backbone.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        parts = {
            "fingerprint": backbone.fingerprint["digest"],
            "preprocess": backbone.preprocess.to_json(),
            "block": [self.block, self.layers],
            "kept": [self.dtype, self.config.training.precision, CHUNK],
            "code": code_stamp(),
            "device": [device.type, name, torch.get_num_threads()],
        }
        digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16)
        for image in self.images:
            digest.update(record_key(Record((image,), 1)))
        return digest.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The ``frozen`` of ``train --dry-run --json``."""
        found: dict[str, Any] = {"applies": self.reason is None, "reason": self.reason}
        if self.block:
            found |= {
                "stage": self.stage,
                "blocks_skipped": min(self.block, self.layers),
                "blocks": self.layers,
                "features": self.features,
                "images": len(self.images),
                "bytes": self.bytes,
                "forward_flops_share": round(self.share, 4),
            }
        return found

    def sentence(self) -> str | None:
        """What the user should know: what is saved, or how it could be."""
        saved = f"{100 * self.share:.0f} % of the forward FLOPs of the image tower"
        where = f"{precise_bytes(self.bytes)} in {cache_folder() / 'frozen'}"
        if self.of_validation:
            once = f"Of the validation images {self._what()} computed once and not in every validation"
            return f"{once}, {saved} ({where})." if self.reason is None else None
        stays = "The image tower stays as it is"
        if not self.features:
            stays = f"The first {self.block} of {self.layers} blocks of the image tower stay as they are"
        if self.reason is None:
            when = f" in the stage {self.stage}" if self.stage else ", and images are not augmented"
            return f"{stays}{when}: {self._what()} computed once and not in every epoch, {saved} ({where})."
        if self.augmented:
            return (
                f"{stays}. Without augmentation ({_UNAUGMENTED}) {self._what('would be')} computed once and not in "
                f"every epoch: {saved} saved, for {where}."
            )
        return None

    def open(
        self,
        stages: Sequence[Stage] | None = None,
        began_with: bool | None = None,
        say: Say = lambda sentence: None,
        team: Team = ALONE,
    ) -> FrozenRows | None:
        """The rows for the ``stages`` to come, or for validations, from the cache folder or computed now; ``None``
        where they are not used. Features that cannot be kept on the disk are kept in memory.

        ``began_with`` says whether a run that is resumed has used them so far: it goes on so, since what is computed
        within other batches may differ in the last bit. The processes of a ``team`` share the computing, and the first
        writes; on a machine where its file is not, features are computed again.

        Raises:
            ReidtuneError: a resumed run has used rows for which there is no room now.
            DataError: an image cannot be read.
        """
        wanted = stages is None or any(
            stage.images if self.stage is None else stage.name == self.stage for stage in stages
        )
        if self.reason is not None or not wanted or (self.stage is None and began_with is False):
            return None
        found = self._found(say)
        if team.largest(found is None):
            trouble = team.of_first(lambda: lacking_room(self.path, self.bytes)) or self._write(team)
            found = self._found(say) if trouble is None else None
            if self.features and team.largest(found is None):
                again = torch.cat(list(in_rounds(self.images, self._computed, CHUNK, team)))
                found = again if found is None else found
            if found is None:
                trouble = trouble or "another process deleted them"
                what = f"{self._what()} {precise_bytes(self.bytes)}, but {trouble}"
                if began_with:
                    raise ReidtuneError(
                        f"The run has read rows that it computed once: {what}.",
                        "Make room; or go on with --set training.cache_frozen=none, which may change the last bit.",
                    )
                when = "validation" if self.of_validation else "epoch"
                say(f"Blocks that stay as they are are computed in every {when}: {what}.")
                return None
        assert found is not None
        return FrozenRows(found, self.places, self.stage)

    def _what(self, verb: str = "are") -> str:
        if self.features:
            return f"{'the' if self.of_validation else 'its'} features {verb}"
        return f"the rows that {f'enter block {self.block + 1}' if self.block < self.layers else 'leave them'} {verb}"

    def _found(self, say: Say) -> Tensor | None:
        """The rows of an earlier run, if they are what they should be: some are computed again."""
        path = self.path
        try:
            table = map_rows(path, path.stem, self.shape, len(self.images), self.dtype)
            places = Random().sample(range(len(self.images)), min(_SAMPLES, len(self.images)))
            again = torch.cat(list(self._computed([self.images[place] for place in places]))).float()
            kept = table[places].float()
            if not (kept - again).abs().max() <= _TOLERANCE[self.dtype] * again.abs().max():
                raise DamagedError("not what this backbone gives for these images")
        except FileNotFoundError:
            return None
        except DamagedError as error:
            say(f"{path} is {error}: it is computed again.")
            path.unlink(missing_ok=True)
            return None
        return table

    def _write(self, team: Team) -> str | None:
        """Compute and keep all rows; why that failed, where it did."""
        trouble: str | None = None
        parts = in_rounds(self.images, self._computed, CHUNK, team)
        try:
            if team.writes:
                write_rows(self.path, self.path.stem, self.shape, len(self.images), self.dtype, parts)
        except OSError as error:
            trouble = f"{self.path.parent} cannot be written ({error.strerror or error})"
        for _ in parts if team.size > 1 else ():  # all of them take part in every round
            pass
        return team.of_first(lambda: trouble)

    @torch.no_grad()
    def _computed(self, images: Sequence[ImageFile]) -> Iterator[Tensor]:
        """What is kept of images, a part [n, ...] at a time, on the CPU."""
        backbone, training = self.model.backbone, self.config.training
        tower, plain = backbone.image, Tuner()
        records = [Record((image,), 1) for image in images]
        workers = choose_workers(training.workers, backbone.device)
        for pixels in eval_loader(records, EvalTransform(backbone.preprocess), CHUNK, workers):
            with autocast(self.model, training.precision):
                given = pixels.to(backbone.device)
                found = tower(given, plain) if self.features else tower.rows_before(given, plain, Walk(), self.block)
            yield found.to("cpu", DTYPES[self.dtype])
