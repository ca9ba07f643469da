"""Norm tuning: nothing but weights and biases of the LayerNorms learns."""

from __future__ import annotations

from reidtune.backbone.load import Backbone
from reidtune.methods.base import Method
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference


class Norm(Method):
    name = "norm"
    title = "Weights and biases of every LayerNorm; merges into the backbone"
    citation = (
        "Basu et al., Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning, AAAI 2024, arXiv 2304.01917 "
        "(LN-Tune)"
    )
    parameters_vit_b16 = 39_936
    silent = "The paper tunes for few-shot classification; nothing is published for ReID."

    def components(self, backbone: Backbone) -> dict[str, Component]:
        tower = backbone.image
        return {"difference": Difference(tower, tower.norm_names())}
