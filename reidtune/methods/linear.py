"""A linear map on frozen features: the smallest thing that learning can add to a backbone."""

from __future__ import annotations

from reidtune.backbone.load import Backbone
from reidtune.methods.base import Method
from reidtune.tuning.component import Component
from reidtune.tuning.feature_map import FeatureMap


class Linear(Method):
    name = "linear"
    title = "A square linear map on the frozen feature; merges into the projection"
    citation = (
        "The linear probe of Radford et al., Learning Transferable Visual Models From Natural Language Supervision, "
        "ICML 2021, for retrieval"
    )
    parameters_vit_b16 = 262_144
    silent = (
        "A linear probe is a classifier, which gives no feature for people it was not trained on; here a map that "
        "starts as the identity learns in front of the usual neck and classifier."
    )

    def components(self, backbone: Backbone) -> dict[str, Component]:
        return {"map": FeatureMap(backbone.image)}
