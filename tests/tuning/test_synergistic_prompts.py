"""Synergistic residual prompts against their formulas written out, one image after another."""

import pytest
import torch
import torch.nn.functional as F

from reidtune.backbone.walk import Walk
from reidtune.data.batch import Batch
from reidtune.errors import SettingsError
from reidtune.fusion import modality_walk
from reidtune.tuning.feed_forward_adapter import FeedForwardAdapter
from reidtune.tuning.synergistic_prompts import SynergisticPrompts
from reidtune.tuning.tuner import Tuner

COUNT = 3  # rows of a modality
ROWS = 1 + 4 * 2  # class row and patches


def prompts(backbone, modalities, start="zeros", disturb=0.3):
    torch.manual_seed(0)
    found = SynergisticPrompts(backbone.image, modalities, COUNT, start)
    with torch.no_grad():
        for number, parameter in enumerate(found.parameters()):
            parameter += disturb * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return found


def batch(modalities, present=None, seed=2):
    images = torch.randn(4, modalities, 3, 32, 16, generator=torch.Generator().manual_seed(seed))
    return Batch(images, present=None if present is None else torch.tensor(present).bool())


def features(backbone, components, images):
    pixels, walk = modality_walk(images)
    with torch.no_grad():
        return backbone.image(pixels, Tuner(components), walk), walk


class Reference:
    """CLIP's image tower with these prompts and adapters for one image of one modality, from state dicts alone."""

    def __init__(self, backbone, prompts, adapter=None):
        self.weights = {
            name.removeprefix("visual."): backbone.image.parameters[name].detach() for name in backbone.image.names()
        }
        self.heads, self.width, self.layers = backbone.image.heads, backbone.image.width, backbone.image.layers
        self.prompts, self.adapter = prompts.state_dict(), None if adapter is None else adapter.state_dict()

    def norm(self, name, rows):
        return F.layer_norm(rows, (self.width,), self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def linear(self, state, name, rows):
        return rows @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def perceptron(self, state, name, rows):
        hidden = self.linear(state, f"{name}.fc1", rows)
        return self.linear(state, f"{name}.fc2", hidden * torch.sigmoid(1.702 * hidden))

    def block(self, layer, rows):
        name = f"transformer.resblocks.{layer}"
        normed = self.norm(f"{name}.ln_1", rows)
        projected = normed @ self.weights[f"{name}.attn.in_proj_weight"].T + self.weights[f"{name}.attn.in_proj_bias"]
        size = self.width // self.heads
        mixed = []
        for head in range(self.heads):
            query, key, value = (part[:, head * size : (head + 1) * size] for part in projected.split(self.width, 1))
            mixed.append((query @ key.T / size**0.5).softmax(1) @ value)
        rows = rows + self.linear(self.weights, f"{name}.attn.out_proj", torch.cat(mixed, 1))
        hidden = self.linear(self.weights, f"{name}.mlp.c_fc", self.norm(f"{name}.ln_2", rows))
        added = self.linear(self.weights, f"{name}.mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))
        beside = 0 if self.adapter is None else self.perceptron(self.adapter, str(layer), rows)
        return rows + added + beside

    def groups(self, layer, modality, carried):
        learned = self.prompts["prompts"][layer]
        found = []
        for source, rows in enumerate(learned):
            if source != modality:
                found.append(rows + self.perceptron(self.prompts, f"between.{layer}.{source}", rows))
            elif layer == 0:
                found.append(rows)
            else:
                found.append(carried + self.perceptron(self.prompts, f"transfer.{layer}", carried) + rows)
        return found

    def __call__(self, image, modality):
        patches = F.conv2d(image[None], self.weights["conv1.weight"], stride=8)[0].flatten(1).T
        rows = torch.cat([self.weights["class_embedding"][None], patches]) + self.weights["positional_embedding"]
        rows, carried = self.norm("ln_pre", rows), None
        for layer in range(self.layers):
            groups = self.groups(layer, modality, carried)
            rows = self.block(layer, torch.cat([rows, *groups]))
            count = len(groups[0])
            left = rows[ROWS:].split(count)
            carried = sum(left) / len(left)
            rows = rows[:ROWS]
        return self.norm("ln_post", rows[0]) @ self.weights["proj"]


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
@pytest.mark.parametrize("adapters", [False, True])
def test_features_are_those_of_the_formulas(small_backbone, modalities, adapters):
    given = {"prompts": prompts(small_backbone, modalities)}
    if adapters:
        given["adapter"] = FeedForwardAdapter(small_backbone.image)
    present = torch.ones(4, modalities).bool()
    present[1, 0] = present[2, -1] = modalities == 1  # some samples lack a modality
    images = batch(modalities, present.tolist())
    found, walk = features(small_backbone, given, images)
    reference = Reference(small_backbone, *given.values())
    with torch.no_grad():
        for row, sample, modality in zip(found, walk.samples, walk.modality, strict=True):
            expected = reference(images.images[sample, modality], int(modality))
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=2e-5)
    plain, _ = features(small_backbone, {}, images)
    assert (found - plain).abs().max() > 0.1


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_an_image_changes_nothing_of_another(small_backbone, modalities):
    given = {"prompts": prompts(small_backbone, modalities), "adapter": FeedForwardAdapter(small_backbone.image)}
    images, other = batch(modalities), batch(modalities, seed=7)
    before, walk = features(small_backbone, given, images)
    for place in range(modalities):
        changed = images.images.clone()
        changed[:, place] = other.images[:, place]
        after, _ = features(small_backbone, given, Batch(changed))
        own = walk.modality == place
        assert torch.equal(before[~own], after[~own])
        assert (before[own] - after[own]).abs().amax(1).min() > 1e-2


def test_a_missing_modality_changes_nothing_of_those_that_are_there(small_backbone):
    given = {"prompts": prompts(small_backbone, 3)}
    present = [[1, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 1]]
    whole, all_there = features(small_backbone, given, batch(3))
    some, walk = features(small_backbone, given, batch(3, present))
    for row, sample, modality in zip(some, walk.samples, walk.modality, strict=True):
        place = (all_there.samples == sample) & (all_there.modality == modality)
        assert torch.allclose(row, whole[place][0], atol=1e-5)


def test_the_prompts_of_a_modality_reach_the_features_of_all(small_backbone):
    given = prompts(small_backbone, 3)
    before, walk = features(small_backbone, {"prompts": given}, batch(3))
    with torch.no_grad():
        given.prompts[:, 1] += 1
    after, _ = features(small_backbone, {"prompts": given}, batch(3))
    for place in range(3):
        assert (before - after)[walk.modality == place].abs().amax(1).min() > 1e-2


def test_rows_are_dropped_before_the_next_ones_come(small_backbone):
    component, lengths = prompts(small_backbone, 3), []

    class Trace(Tuner):
        def tokens(self, walk, layer, tokens):
            rows = super().tokens(walk, layer, tokens)
            lengths.append(rows.shape[1])
            return rows

    small_backbone.image(*modality_walk(batch(3))[:1], Trace({"prompts": component}), modality_walk(batch(3))[1])
    assert lengths == [ROWS + 3 * COUNT] * 2


def test_nothing_of_the_block_before_but_the_mean_of_the_groups_is_carried(small_backbone):
    """Moving rows from one group to another keeps their mean, and so changes nothing."""
    component = prompts(small_backbone, 3)
    walk = Walk(tower=small_backbone.image, modality=torch.tensor([0, 2]))
    rows = torch.randn(2, ROWS + 3 * COUNT, 32, generator=torch.Generator().manual_seed(3))
    moved = rows.clone()
    moved[:, ROWS : ROWS + COUNT] += 1
    moved[:, ROWS + COUNT : ROWS + 2 * COUNT] -= 1
    with torch.no_grad():
        one, other = component.tokens(walk, 1, rows), component.tokens(walk, 1, moved)
        moved[:, -1] += 1
        third = component.tokens(walk, 1, moved)
    assert torch.allclose(one, other, atol=1e-5)
    changed = (one - third).abs().amax(2) > 1e-2
    assert changed.nonzero().tolist() == [[0, ROWS + COUNT - 1], [1, ROWS + 3 * COUNT - 1]]  # its own group, that row


def test_start_as_published(vit_b_16):
    component = SynergisticPrompts(vit_b_16.image, 3, 4)
    state = component.state_dict()
    assert state["prompts"].shape == (12, 3, 4, 768)
    assert not state["prompts"].any()
    assert state["between.5.2.fc1.weight"].shape == state["transfer.5.fc1.weight"].shape == (384, 768)
    assert state["between.5.2.fc1.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert not any(value.any() for name, value in state.items() if name.endswith("bias"))
    other = SynergisticPrompts(vit_b_16.image, 3, 4, "normal").prompts
    assert other.std().item() == pytest.approx(0.02, rel=0.02)


def test_counts_on_vit_b_16(vit_b_16):
    perceptron, row = 590_976, 768
    for modalities in (1, 2, 3, 4):
        component = SynergisticPrompts(vit_b_16.image, modalities, 4)
        others = modalities if modalities > 1 else 0
        expected = 12 * (modalities * 4 * row + others * perceptron) + 11 * perceptron
        assert sum(parameter.numel() for parameter in component.parameters()) == expected
    three = SynergisticPrompts(vit_b_16.image, 3, 4)
    unused = perceptron  # the public code's transfer of the first block
    assert sum(parameter.numel() for parameter in three.parameters()) + unused == 28_477_440


def test_rows_that_start_equal_stay_equal_and_others_do_not(small_backbone):
    """What the page says of the published start."""

    def trained(start):
        component = prompts(small_backbone, 3, start, disturb=0.0)
        optimiser = torch.optim.Adam(component.parameters(), 1e-2)
        images, walk = modality_walk(batch(3))
        for _ in range(5):
            optimiser.zero_grad()
            small_backbone.image(images, Tuner({"prompts": component}), walk).square().sum().backward()
            optimiser.step()
        rows = component.prompts.detach()
        return rows.abs().mean(), (rows - rows.mean(2, keepdim=True)).abs().max()

    size, spread = trained("zeros")
    assert size > 1e-2 > 1e-3 > spread
    assert trained("normal")[1] > 1e-2


def test_modalities_must_be_known(small_backbone):
    with pytest.raises(SettingsError, match="which modality an image shows"):
        small_backbone.image(torch.randn(1, 3, 32, 16), Tuner({"prompts": prompts(small_backbone, 2)}))
