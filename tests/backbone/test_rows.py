"""Rows that components add have no position and are not pooled, in towers with a class row and without."""

import pytest
import torch

from reidtune.backbone.positions import rotary_table
from reidtune.backbone.walk import ExtraRows, Walk
from reidtune.errors import SettingsError
from reidtune.tuning.class_feature import ClassFeature
from reidtune.tuning.component import Component
from reidtune.tuning.prompt_rows import TowerPrompts
from reidtune.tuning.prompts import VisualPrompts
from reidtune.tuning.tuner import Tuner
from tests.backbone.families import FAMILIES, inputs


def with_extra(tower, own, before, behind):
    """``own`` rows with random ones put before and behind the patches, and the walk that says so."""
    front, behind_them = (torch.randn(2, count, tower.width) for count in (before, behind))
    rows = torch.cat([own[:, : tower.leading], front, own[:, tower.leading :], behind_them], dim=1)
    return rows, Walk(tower, rows=ExtraRows(before, behind))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("before", "behind"), [(3, 0), (0, 2), (3, 2)])
def test_the_pool_reads_the_rows_that_it_reads_without_them(family, name, before, behind):
    tower = family(name)[0].image
    own = torch.randn(2, tower.leading + tower.grid[0] * tower.grid[1], tower.width)
    rows, walk = with_extra(tower, own, before, behind)
    with torch.no_grad():
        expected = tower.pooled(Walk(tower), Tuner(), own)
        assert torch.allclose(tower.pooled(walk, Tuner(), rows), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["eva02", "pe-core", "pe-core, giant"])
def test_rotary_positions_turn_patches_alone(family, name):
    tower = family(name)[0].image
    own = torch.randn(2, tower.leading + 16, tower.width)
    rows, walk = with_extra(tower, own, 3, 2)
    turned, expected = tower.rotated(walk, rows), tower.rotated(Walk(tower), own)
    place = slice(tower.leading + 3, tower.leading + 19)
    assert torch.equal(turned[:, place], expected[:, tower.leading :])
    assert not torch.allclose(expected[:, tower.leading :], own[:, tower.leading :], atol=1e-2)
    stay = torch.ones(rows.shape[1], dtype=torch.bool)
    stay[place] = False
    assert torch.equal(turned[:, stay], rows[:, stay])


def test_a_rotary_table_counts_rows_and_columns_and_scales_to_the_reference():
    table = rotary_table((3, 2), 8)
    assert table.shape == (6, 8)
    assert torch.equal(table[:, 0], torch.tensor([0.0, 0, 1, 1, 2, 2]))  # rows of the image
    assert torch.equal(table[:, 4], torch.tensor([0.0, 1, 0, 1, 0, 1]))  # its columns
    assert torch.allclose(table[:, 2], table[:, 0] / 100)  # the second band of two: 10000 ** -0.5
    scaled = rotary_table((3, 2), 8, reference=(6, 6), offset=1.0, columns_first=True)
    assert torch.equal(scaled[:, 0], torch.tensor([3.0, 6, 3, 6, 3, 6]))
    assert torch.equal(scaled[:, 4], torch.tensor([2.0, 2, 4, 4, 6, 6]))


def test_rows_that_nobody_announced_are_a_mistake_that_is_named(family):
    class Silent(Component):
        def tokens(self, walk, layer, tokens):
            return torch.cat([tokens, tokens[:, :1]], dim=1) if layer == 0 else tokens

    backbone = family("siglip")[0]
    with pytest.raises(ValueError, match="did not say so in walk.rows"):
        backbone.image(inputs(backbone)[0], Tuner({"silent": Silent()}))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("deep", [True, False])
def test_visual_prompts_keep_the_leading_rows_in_front(family, name, deep):
    class Seen(Component):
        def __init__(self):
            super().__init__()
            self.rows = []

        def tokens(self, walk, layer, tokens):
            self.rows.append(tokens)
            return tokens

    backbone = family(name)[0]
    tower = backbone.image
    before, after, prompts = Seen(), Seen(), VisualPrompts(tower, 3, deep).eval()
    with torch.no_grad():
        tower(inputs(backbone)[0], Tuner({"before": before, "prompts": prompts, "after": after}))
    first, then = before.rows[0], after.rows[0]
    place = slice(tower.leading, tower.leading + 3)
    assert torch.equal(then[:, : tower.leading], first[:, : tower.leading])
    assert torch.equal(then[0, place], prompts.rows[0])
    assert torch.equal(then[:, place.stop :], first[:, tower.leading :])
    assert torch.equal(after.rows[1][0, place], prompts.rows[1]) == deep if deep else True
    assert after.rows[1].shape == then.shape


@pytest.mark.parametrize("name", FAMILIES)
def test_text_prompts_move_words_and_leave_the_pooled_row(family, name):
    backbone = family(name)[0]
    tower = backbone.text
    _, ids = inputs(backbone)
    walks = {}
    for count in (0, 3):
        walks[count] = Walk(tower)
        tuner = Tuner({"prompts": TowerPrompts(tower, count, 1)} if count else {})
        with torch.no_grad():
            walks[count].features = tower(ids, tuner, walks[count])
    moved = walks[3].ids
    words = moved[:, tower.start + 3 :]
    assert torch.equal(words[:, :4], ids[:, tower.start : tower.start + 4])
    assert not torch.allclose(walks[0].features, walks[3].features, atol=1e-3)
    if tower.pooling in ("argmax", "eos"):
        assert torch.equal(tower.ends(moved), tower.ends(ids) + 3)
    if tower.pooling == "last":
        assert torch.equal(moved[:, -1], ids[:, -1])


def test_the_class_rows_feature_needs_a_pooled_class_row(family):
    assert ClassFeature(family("eva02")[0].image)
    for name, pooling in (("siglip", "attention"), ("clipa", "mean")):
        with pytest.raises(SettingsError, match=f"pools by {pooling}"):
            ClassFeature(family(name)[0].image)
