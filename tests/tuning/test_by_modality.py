"""Parts of their own for each modality."""

import pytest
import torch

from reidtune.data.batch import Batch
from reidtune.errors import SettingsError
from reidtune.fusion import modality_walk
from reidtune.tuning.by_modality import ByModality
from reidtune.tuning.low_rank import LowRank
from reidtune.tuning.parallel_adapter import ParallelAdapter
from reidtune.tuning.prefix import Prefix
from reidtune.tuning.prompts import VisualPrompts
from reidtune.tuning.tuner import Tuner

MAKERS = {
    "low-rank": lambda tower: LowRank(tower, ("q", "out", "fc1"), 2, 2.0, 0.3),
    "adapter": lambda tower: ParallelAdapter(tower, 4, 1.0, 0.3),
    "prompts": lambda tower: VisualPrompts(tower, 3, True, 0.3),
}


def disturbed(parts):
    with torch.no_grad():
        for number, parameter in enumerate(p for part in parts for p in part.parameters()):
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.1
    return parts


def batch(present=None):
    images = torch.randn(4, 3, 3, 32, 16, generator=torch.Generator().manual_seed(2))
    return Batch(images, seeds=torch.arange(4), present=present)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("present", [None, [[1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 1, 0]], [[1, 0, 0]] * 4])
def test_each_image_meets_the_part_of_its_modality_alone(small_backbone, name, present):
    parts = disturbed([MAKERS[name](small_backbone.image) for _ in range(3)])
    tuner = Tuner({"it": ByModality(parts)}).train()
    images, walk = modality_walk(batch(None if present is None else torch.tensor(present).bool()))
    found = small_backbone.image(images, tuner, walk)
    for place, part in enumerate(parts):
        own = walk.modality == place
        if own.any():
            alone, its = modality_walk(batch(None if present is None else torch.tensor(present).bool()))
            its.seeds, rows = its.seeds[own], alone[own]
            expected = small_backbone.image(rows, Tuner({"it": part}).train(), its)
            assert torch.allclose(found[own], expected, atol=1e-6)
    plain = small_backbone.image(images, Tuner())
    assert not torch.allclose(found, plain, atol=1e-2)


def test_modalities_must_be_known(small_backbone):
    tuner = Tuner({"it": ByModality([MAKERS["adapter"](small_backbone.image)] * 2)})
    with pytest.raises(SettingsError, match="which modality an image shows"):
        small_backbone.image(torch.randn(1, 3, 32, 16), tuner)


def test_what_cannot_differ_between_images_is_refused(small_backbone):
    with pytest.raises(ValueError, match="Prefix serves key_value"):
        ByModality([Prefix(small_backbone.image, 2)])


class Reader(ParallelAdapter):
    """Reads the rows after attention of the last block, all of them."""

    def __init__(self, tower):
        super().__init__(tower, 4)
        self.seen = []

    def reads_all_tokens(self):
        return True

    def observe(self, walk, layer, tokens):
        self.seen.append((layer, tuple(tokens.shape)))


def test_parts_that_read_all_tokens_get_them(small_backbone):
    parts = [Reader(small_backbone.image) for _ in range(3)]
    images, walk = modality_walk(batch(torch.tensor([[1, 1, 0]] * 4).bool()))
    rows = 1 + small_backbone.image.grid[0] * small_backbone.image.grid[1]
    small_backbone.image(images, Tuner({"it": ByModality(parts)}), walk)
    assert [part.seen for part in parts] == [[(1, (4, rows, small_backbone.image.width))]] * 2 + [[]]
