"""open_clip's own text towers: CLIP's, and those that see both ways or pool another row."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.linears import open_clip_linears
from reidtune.backbone.open_clip_tower import NAMES
from reidtune.backbone.tower import Tower, causal_mask
from reidtune.backbone.walk import SiteFunctions, Walk
from reidtune.errors import SettingsError

CLIP_BPE = "clip-bpe"  # CLIP's own tokenizer


class TextTower(Tower):
    """Token ids [B, T] → features [B, D].

    ``config``: ``layers``, ``heads``, ``context``, and where they differ from CLIP's ``prefix`` (of state-dict names),
    ``causal``, ``pool`` and ``eos_id``, ``class_row`` and ``pad_id``, ``tokenizer``. The pooled row (``pool``) is that
    of the largest id (``argmax``), of the first ``eos_id`` (``eos``), the ``first`` or the ``last`` one; a class row
    behind the words (CoCa, Yu et al. 2022) where there is one.

    Columns behind the last end token of the batch are left out of a causal tower unless the tuner reads them.

    Rows that components put in front of the words stand behind ``start`` rows: behind CLIP's start token, and in front
    of everything with tokenizers that need not have one. ``placeholder`` is an id that ends no text.
    """

    kind = "text"
    family = "open_clip"

    def __init__(self, model: nn.Module, config: dict[str, Any], output_width: int) -> None:
        self.prefix = config.get("prefix", "")
        blocks = f"{self.prefix}transformer.resblocks"
        linears = open_clip_linears(dict(model.named_parameters()), f"{blocks}.0")
        super().__init__(model, blocks, NAMES, linears, config["layers"], config["heads"], output_width)
        self.context: int = config["context"]
        self.causal = config.get("causal", True)
        self.pooling = config.get("pool", "argmax")
        self.class_row = f"{self.prefix}cls_emb" if config.get("class_row", False) else None
        self.pad_id: int = config.get("pad_id", 0)
        self.eos_id: int = config.get("eos_id", -1)
        self.tokenizer: str = config.get("tokenizer", CLIP_BPE)
        self.start = 1 if self.tokenizer == CLIP_BPE or self.pooling == "first" else 0
        self.placeholder = 0 if self.eos_id == 1 else 1
        self.front = tuple(f"{self.prefix}{name}" for name in ("token_embedding", "positional_embedding", "cls_emb"))
        self.last_norm = f"{self.prefix}ln_final"
        held = (f"{self.prefix}text_projection{part}" for part in ("", ".weight"))
        self.projection = next((name for name in held if name in self.parameters), None)

    def variant(self) -> str:
        return f"{super().variant()}, {'causal' if self.causal else 'both ways'}"

    def names(self) -> list[str]:
        others = ("visual.", "logit_")
        return [name for name in super().names() if not name.startswith(others)]

    @property
    def pooled_row(self) -> str:
        """Which row is the feature, in a word."""
        if self.class_row is not None:
            return "cls"
        return {"argmax": "eos", "eos": f"eos {self.eos_id}"}.get(self.pooling, self.pooling)

    def ends(self, ids: Tensor) -> Tensor:
        """Which row of each text [B, T] is pooled, [B]."""
        if self.pooling == "argmax":
            return ids.argmax(dim=-1)
        if self.pooling == "eos":
            return (ids == self.eos_id).int().argmax(dim=-1)
        return torch.full((len(ids),), 0 if self.pooling == "first" else ids.shape[1] - 1, device=ids.device)

    def require_clip_words(self, what: str) -> None:
        """Raise ``SettingsError`` where texts are not those of CLIP's tokenizer, in which ``what`` finds its words."""
        if self.tokenizer != CLIP_BPE or self.pooling != "argmax":
            raise SettingsError(
                f"{what} needs texts of CLIP's own tokenizer, but this backbone's are those of {self.tokenizer}.",
                "Choose a backbone with CLIP's text tower, such as ViT-B-16, or another method.",
            )

    def pooled_at(self, walk: Walk, tokens: Tensor) -> Tensor | None:
        if self.class_row is not None:
            return None
        assert walk.ids is not None
        return self.ends(walk.ids)

    def __call__(self, ids: Tensor, tuner: SiteFunctions, walk: Walk | None = None) -> Tensor:
        walk = walk or Walk()
        walk.tower = self
        if (
            self.causal and self.class_row is None and not tuner.reads_all_tokens(walk)
        ):  # rows after the pooled one cannot reach it
            ids = ids[:, : int(self.ends(ids).max()) + 1]
        walk.ids = ids
        tokens = F.embedding(ids, self.weight(walk, tuner, f"{self.prefix}token_embedding.weight"))
        tokens = tuner.embed(walk, "before_positions", tokens)
        if self.class_row is not None:
            row = self.weight(walk, tuner, self.class_row).to(tokens.dtype)
            tokens = torch.cat([tokens, row.expand(len(tokens), 1, -1)], dim=1)
        tokens = tokens + self.weight(walk, tuner, f"{self.prefix}positional_embedding")[: tokens.shape[1]]
        tokens = tuner.embed(walk, "after_positions", tokens)
        tokens = self.run_blocks(walk, tuner, tokens)
        rows = tokens[:, -1]  # the class row, or the only one
        if tokens.shape[1] > 1 and (end := self.pooled_at(walk, tokens)) is not None:
            rows = tokens[torch.arange(len(tokens), device=tokens.device), end]
        rows = self.norm(walk, tuner, self.layers, "ln_final", self.last_norm, rows)
        return tuner.pool(walk, tokens, self._projected(walk, tuner, rows))

    def mask(self, walk: Walk, length: int, extra: int, device: torch.device) -> Tensor | None:
        """As the base has it; with a class row the keys of padding are hidden too. open_clip hides the key behind each
        padded one, as CoCa's weights were trained, and the first key never."""
        if self.class_row is None or walk.ids is None:
            return super().mask(walk, length, extra, device)
        words = walk.ids != self.pad_id
        seen = torch.cat([words.new_ones(len(words), extra + 1), words], dim=1)[:, None, None]
        return seen & causal_mask(length, extra, device) if self.causal else seen

    def _projected(self, walk: Walk, tuner: SiteFunctions, rows: Tensor) -> Tensor:
        if self.projection is None:
            return rows
        weight = self.weight(walk, tuner, self.projection)
        if not self.projection.endswith(".weight"):
            return rows @ weight
        return F.linear(rows, weight, self.weight(walk, tuner, f"{self.prefix}text_projection.bias"))
