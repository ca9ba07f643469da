"""Zero-shot: the backbone as it is."""

from __future__ import annotations

from reidtune.backbone.load import Backbone
from reidtune.methods.base import Method
from reidtune.tuning.component import Component


class ZeroShot(Method):
    name = "zero-shot"
    title = "The backbone as it is; nothing is trained"
    citation = "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021"
    tasks = ("image", "text", "multimodal")
    parameters_vit_b16 = 0

    def components(self, backbone: Backbone) -> dict[str, Component]:
        return {}
