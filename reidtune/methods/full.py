"""Full fine-tuning of the image tower, the baseline that everything is compared with."""

from __future__ import annotations

from reidtune.backbone.load import Backbone
from reidtune.methods.base import Method
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference


class Full(Method):
    name = "full"
    title = "Every parameter of the image tower; the delta is as large as the tower"
    citation = "The baseline of every paper here; settings after Li et al., CLIP-ReID, AAAI 2023"
    parameters_vit_b16 = 86_140_416
    silent = "Weight decay acts on the difference to the backbone."

    def components(self, backbone: Backbone) -> dict[str, Component]:
        return {"difference": Difference(backbone.image, backbone.image.names())}
