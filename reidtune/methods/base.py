"""What a method is: a named assembly of components, losses and stages, after one paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict

from reidtune.backbone.load import Backbone
from reidtune.tuning.component import Component
from reidtune.tuning.tuner import Tuner


class BaseSettings(BaseModel):
    """Base of a method's own settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Stage:
    """A part of training. ``share`` of the epochs goes to it; ``trains`` says which tuner tensors learn in it."""

    name: str
    share: float = 1.0
    trains: Callable[[str], bool] = lambda name: True


class Method(ABC):
    """One method. A subclass is a page: settings, components, stages, citation, and where the record is silent.

    ``claims`` holds the numbers its paper reports, as printed there; ``parameters_vit_b16`` the count of trainable
    parameters on ViT-B/16 with default settings (256×128 pixels), which a test checks.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]] = ("image",)
    neutral_start: ClassVar[bool] = True  # at the start the features are the backbone's
    parameters_vit_b16: ClassVar[int]
    claims: ClassVar[Mapping[str, Any]] = {}
    silent: ClassVar[str] = ""
    Settings: ClassVar[type[BaseSettings]] = BaseSettings

    def __init__(self, settings: BaseSettings) -> None:
        self.settings: Any = settings

    @abstractmethod
    def components(self, backbone: Backbone) -> dict[str, Component]:
        """The components on this backbone, by name; tensors of a delta are ``<name>.<tensor>``."""

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("tune"),)

    def tuner(self, backbone: Backbone, seed: int = 0) -> Tuner:
        """A fresh tuner whose initial values depend on ``seed`` alone; the caller's random state is kept."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Tuner(self.components(backbone)).to(backbone.device)
