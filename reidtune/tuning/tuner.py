"""The tuner: the trainable components of a method on one backbone, as the towers see them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.errors import DeltaError
from reidtune.tuning.component import SITES, Component


class Tuner(nn.Module):
    """Named components; implements :class:`reidtune.backbone.walk.SiteFunctions` by asking, at each site, the
    components that serve it, in order. A tuner without components changes nothing.

    The tensors of a delta are this module's state dict: ``<component>.<tensor>``.
    """

    def __init__(self, components: Mapping[str, Component] | None = None) -> None:
        super().__init__()
        self._sites: dict[tuple[str, str], list[Component]] = {}
        for name, component in (components or {}).items():
            self.add_module(name, component)
            sites = [site for site in SITES if component.serves(site)]
            if not sites:
                raise ValueError(f"the component {name} serves no site; sites are {', '.join(SITES)}")
            for site in sites:
                for tower in component.towers:
                    self._sites.setdefault((tower, site), []).append(component)

    def components(self) -> dict[str, Component]:
        return {name: module for name, module in self.named_children() if isinstance(module, Component)}

    def at(self, walk: Walk, site: str, layer: int | None = None) -> list[Component]:
        """The components that serve ``site`` of the tower that is walked; those that act in block ``layer``, if any is
        named."""
        serving = self._sites.get((walk.kind, site), [])
        if layer is None:
            return serving
        tower = tower_of(walk)
        return [component for component in serving if component.first_block(tower) <= max(layer, 0)]

    def first_block(self, tower: Tower) -> int:
        """The first block of ``tower`` that a component has a part in; see :meth:`Component.first_block`. What enters
        it is the backbone's own. ``tower.layers + 1`` where no component acts in the tower.

        Whoever may read all tokens has a part in the last block at the latest, since the pooled row alone leaves it."""
        found = tower.layers + 1
        for component in self.components().values():
            if tower.kind in component.towers:
                first = component.first_block(tower)
                if first == tower.layers and type(component).reads_all_tokens is not Component.reads_all_tokens:
                    first -= 1  # and not only while it does: training and evaluation share the rows that enter
                found = min(found, first)
        return found

    def reads_all_tokens(self, walk: Walk) -> bool:
        return bool(self._readers(walk))

    def observes(self, walk: Walk) -> bool:
        readers = self._readers(walk)
        return bool(readers) and all(component.serves("observe") for component in readers)

    def observe(self, walk: Walk, layer: int, tokens: Tensor) -> None:
        for component in self._readers(walk):
            component.observe(walk, layer, tokens)

    def _readers(self, walk: Walk) -> list[Component]:
        """The components of this tower that read all tokens."""
        return [
            component
            for component in self.components().values()
            if walk.kind in component.towers and component.reads_all_tokens()
        ]

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        for component in self.at(walk, "embed", 0):
            tokens = component.embed(walk, place, tokens)
        return tokens

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        for component in self.at(walk, "tokens", layer):
            tokens = component.tokens(walk, layer, tokens)
        return tokens

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        for component in self.at(walk, "norm", layer):
            normed = component.norm(walk, layer, name, tokens, normed)
        return normed

    def weight(self, walk: Walk, name: str, value: Tensor) -> Tensor:
        for component in self.at(walk, "weight"):
            value = component.weight(walk, name, value)
        return value

    def linear(self, walk: Walk, layer: int, name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        for component in self.at(walk, "linear", layer):
            outputs = component.linear(walk, layer, name, inputs, outputs)
        return outputs

    def key_value(self, walk: Walk, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        for component in self.at(walk, "key_value", layer):
            key, value = component.key_value(walk, layer, key, value)
        return key, value

    def attention(self, walk: Walk, layer: int, tokens: Tensor, attended: Tensor) -> Tensor:
        for component in self.at(walk, "attention", layer):
            tokens = component.attention(walk, layer, tokens, attended)
        return tokens

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor | None:
        total: Tensor | None = None
        for component in self.at(walk, "beside_mlp", layer):
            part = component.beside_mlp(walk, layer, tokens)
            if part is not None:
                total = part if total is None else total + part
        return total

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        for component in self.at(walk, "block", layer):
            tokens = component.block(walk, layer, tokens)
        return tokens

    def pool(self, walk: Walk, tokens: Tensor, feature: Tensor) -> Tensor:
        for component in self.at(walk, "pool"):
            feature = component.pool(walk, tokens, feature)
        return feature

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def feature_width(self, tower: Tower) -> int:
        """Columns of the features of ``tower`` with this tuner."""
        width = tower.output_width
        for component in self._sites.get((tower.kind, "pool"), []):
            width = component.feature_width(tower, width)
        return width

    def auxiliary(self, statistics: dict[str, Tensor]) -> dict[str, Tensor]:
        """The auxiliary losses of all components, ``<component>/<loss>``."""
        return {
            f"{name}/{loss}": value
            for name, component in self.components().items()
            for loss, value in component.auxiliary(statistics).items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """The delta: every lasting tensor by name, detached, on the CPU, contiguous."""
        return {name: value.detach().cpu().contiguous() for name, value in self._lasting().items()}

    def _lasting(self) -> dict[str, Tensor]:
        left_out = tuple(
            f"{name}.{part}" for name, component in self.components().items() for part in component.transient
        )
        state: dict[str, Tensor] = self.state_dict()
        return {name: value for name, value in state.items() if not (left_out and name.startswith(left_out))}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a delta's tensors.

        Raises:
            DeltaError: names or shapes are not those of this tuner (the first difference is named).
        """
        own = self._lasting()
        for name, value in own.items():
            if name not in tensors:
                raise DeltaError(f"The delta lacks the tensor {name}.", "Its settings and its tensors disagree.")
            if tensors[name].shape != value.shape:
                raise DeltaError(
                    f"The delta's tensor {name} has shape {tuple(tensors[name].shape)}, expected {tuple(value.shape)}.",
                    "It was made for a backbone of another size.",
                )
        if unknown := sorted(set(tensors) - set(own)):
            raise DeltaError(f"The delta holds a tensor that its method does not know: {unknown[0]}.")
        self.load_state_dict({**self.state_dict(), **tensors})

    def merge(self, values: dict[str, Tensor], towers: Mapping[str, Tower]) -> bool:
        """Write all components into copies of the backbone's parameters, in order; False where one cannot be.

        ``values`` maps state-dict names to tensors that may be written to.
        """
        return all(
            component.merge(values, towers[kind])
            for component in self.components().values()
            for kind in component.towers
        )


def tower_of(walk: Walk) -> Tower:
    """The tower that is walked."""
    assert walk.tower is not None
    return walk.tower
