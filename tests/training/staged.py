"""A method of two stages, for the loop's tests: first the q differences, then the v differences."""

from reidtune.methods.base import Stage
from reidtune.methods.lora import Lora


class Staged(Lora):
    name = "staged"

    def stages(self):
        return (
            Stage("first", share=1.0, trains=lambda name: ".q." in name),
            Stage("second", share=2.0, heads=False, optimiser={"lr": 1e-2}, trains=lambda name: ".v." in name),
        )
