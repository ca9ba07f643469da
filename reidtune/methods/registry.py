"""All methods by name. Importing this costs nothing; a method's page is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from reidtune.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from reidtune.methods.base import Method

ENTRY_POINTS = "reidtune.methods"  # third parties register here: name = "package.module:MethodClass"

_PAGES = {
    "zero-shot": "reidtune.methods.zero_shot:ZeroShot",
    "lora": "reidtune.methods.lora:Lora",
    "vpt": "reidtune.methods.vpt:Vpt",
    "adapter": "reidtune.methods.adapter:Adapter",
    "bias": "reidtune.methods.bias:Bias",
    "norm": "reidtune.methods.norm:Norm",
    "ssf": "reidtune.methods.ssf:Ssf",
    "prefix": "reidtune.methods.prefix:Prefix",
    "linear": "reidtune.methods.linear:Linear",
    "full": "reidtune.methods.full:Full",
    "clip-reid": "reidtune.methods.clip_reid:ClipReid",
    "dm-adapter": "reidtune.methods.dm_adapter:DmAdapter",
    "cskt": "reidtune.methods.cskt:Cskt",
    "prompt-decoupling": "reidtune.methods.prompt_decoupling:PromptDecoupling",
    "up-person": "reidtune.methods.up_person:UpPerson",
    "coop": "reidtune.methods.coop:Coop",
    "ivlp": "reidtune.methods.ivlp:Ivlp",
    "maple": "reidtune.methods.maple:Maple",
    "dmpt": "reidtune.methods.dmpt:Dmpt",
    "mambapro": "reidtune.methods.mambapro:MambaPro",
}

METHOD_SUMMARIES: dict[str, str] = {
    "zero-shot": "the backbone as it is; nothing is trained",
    "lora": "low-rank differences of attention (and MLP) weights; merges into the backbone",
    "vpt": "learnable prompt rows between the class row and the patches, shallow or deep",
    "adapter": "bottleneck adapters parallel to the MLP (AdaptFormer), or after attention and MLP (Houlsby)",
    "bias": "biases of attention, MLP and LayerNorms (BitFit); merges into the backbone",
    "norm": "weights and biases of the LayerNorms; merges into the backbone",
    "ssf": "scales and shifts of features after every operation; merges into the backbone",
    "prefix": "extra keys and values in every block (prefix tuning)",
    "linear": "a linear map on the frozen feature; merges into the projection",
    "full": "every parameter of the image tower, or of both; the baseline, with a large delta",
    "clip-reid": "learned words for every identity, then the image tower against their sentences",
    "dm-adapter": "text: sparse mixture of adapters beside the MLP in both towers, domain-aware router",
    "cskt": "text: bidirectional prompts with coupling projections, dual adapters",
    "prompt-decoupling": "text: prompts alone first, then CLIP with the prompts fixed",
    "up-person": "text: LoRA on k and v, scaled prefixes, adapters beside the LayerNorms",
    "coop": "text: learnable words in front of every caption",
    "ivlp": "text: independent prompts in every block of both towers",
    "maple": "text: text prompts, mapped linearly into the image tower",
    "dmpt": "multi-modal: prompts of each modality from the text encoder, semantic prompts, bind prompts between them",
    "mambapro": "multi-modal: prompts of each modality that the others see too, feed-forward adapters",
}


def third_party() -> dict[str, EntryPoint]:
    """Methods that installed packages register; a built-in method of the same name comes first."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def method_names() -> list[str]:
    return [*_PAGES, *(name for name in third_party() if name not in _PAGES)]


def find_method(name: str) -> type[Method]:
    """The method called ``name``.

    Raises:
        SettingsError: there is none, with the nearest name.
    """
    if name in _PAGES:
        module, _, attribute = _PAGES[name].partition(":")
        found: type[Method] = getattr(import_module(module), attribute)
        return found
    outside = third_party()
    if name in outside:
        try:
            loaded: type[Method] = outside[name].load()
        except Exception as error:
            raise SettingsError(
                f'The method "{name}" of another package ({outside[name].value}) does not load: {error}.',
                "Update or remove that package.",
            ) from error
        return loaded
    raise SettingsError(
        f'Unknown method "{name}".{did_you_mean(name, method_names())}',
        f"Known methods: {', '.join(method_names())}.",
    )
