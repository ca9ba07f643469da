"""Bias tuning: nothing but the biases of the blocks learns."""

from __future__ import annotations

from reidtune.backbone.load import Backbone
from reidtune.methods.base import Method
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference


class Bias(Method):
    name = "bias"
    title = "Every bias of attention, MLP and LayerNorms; merges into the backbone"
    citation = (
        "Ben Zaken et al., BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked "
        "Language-models, ACL 2022, arXiv 2106.10199"
    )
    parameters_vit_b16 = 102_912
    silent = "The paper tunes language models; nothing is published for ReID."

    def components(self, backbone: Backbone) -> dict[str, Component]:
        tower = backbone.image
        return {"difference": Difference(tower, [name for name in tower.names() if name.endswith("bias")])}
