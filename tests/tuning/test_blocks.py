"""Parts in the last blocks alone: where they act, what they leave untouched, what a delta says of it."""

import pytest
import torch

from reidtune.backbone.walk import Walk
from reidtune.data.batch import Batch
from reidtune.delta import read_header, read_tensors, write_delta
from reidtune.errors import SettingsError
from reidtune.methods.base import EVERYTHING
from reidtune.methods.registry import find_method, method_names
from reidtune.model import Model
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.tuner import Tuner

WITH_BLOCKS = [name for name in method_names() if "blocks" in find_method(name).Settings.model_fields]


class Trace(Tuner):
    """Keeps the rows that enter each block, and which parameters were read before each block."""

    def __init__(self, tuner=None):
        super().__init__(tuner.components() if tuner else None)
        self.entering, self.read = {}, {}

    def tokens(self, walk, layer, tokens):
        self.entering[layer] = tokens.clone()
        return super().tokens(walk, layer, tokens)

    def weight(self, walk, name, value):
        self.read.setdefault(name, len(self.entering))
        return super().weight(walk, name, value)


def disturbed(name, backbone, **settings):
    page = find_method(name)
    tuner = page(page.Settings(**settings)).tuner(backbone)
    with torch.no_grad():
        for parameter in tuner.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return tuner.eval()


def test_which_methods_have_the_choice():
    assert set(WITH_BLOCKS) == {"lora", "adapter", "full", "bias", "norm", "ssf", "prefix", "vpt"}


def test_the_last_blocks_of_a_tower(vit_b_16):
    assert last_blocks(vit_b_16.image, 0) == last_blocks(vit_b_16.image, 12) == range(12)
    assert last_blocks(vit_b_16.image, 4) == range(8, 12)
    with pytest.raises(SettingsError, match=r"settings\.blocks is 13, but the image tower has 12 blocks"):
        last_blocks(vit_b_16.image, 13)


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_nothing_before_the_last_blocks_changes_and_something_in_them_does(small_backbone, name):
    images = torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    tuner = disturbed(name, small_backbone, blocks=1)
    assert tuner.first_block(small_backbone.image) == 1
    tuned, plain = Trace(tuner), Trace()
    with torch.no_grad():
        ours, theirs = small_backbone.image(images, tuned), small_backbone.image(images, plain)
    assert torch.equal(tuned.entering[1], plain.entering[1])
    assert not torch.allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_all_blocks_by_number_are_the_default(small_backbone, name):
    assert disturbed(name, small_backbone).first_block(small_backbone.image) == 0
    one, other = (disturbed(name, small_backbone, blocks=count).tensors() for count in (0, 2))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_delta_tells_blocks_only_where_they_are_not_all(small_backbone, header_for, tmp_path):
    page = find_method("lora")
    for blocks, told in ((0, None), (1, 1)):
        method = page(page.Settings(blocks=blocks))
        path = tmp_path / f"{blocks}.safetensors"
        write_delta(path, method.tuner(small_backbone).tensors(), header_for(method, small_backbone))
        assert read_header(path).settings.get("blocks") == told
        again = page(page.Settings(**read_header(path).settings)).tuner(small_backbone)
        again.load_tensors(read_tensors(path))
        assert method.settings.model_dump(context=EVERYTHING)["blocks"] == blocks


def test_a_component_is_not_asked_before_its_first_block(small_backbone):
    asked = []

    class Late(Component):
        towers = ("image", "text")

        def first_block(self, tower):
            return 1 if tower.kind == "image" else tower.layers

        def embed(self, walk, place, tokens):
            asked.append((walk.kind, place))
            return tokens

        def norm(self, walk, layer, name, tokens, normed):
            asked.append((walk.kind, layer, name))
            return normed

        def block(self, walk, layer, tokens):
            asked.append((walk.kind, layer))
            return tokens

    tuner = Tuner({"late": Late()})
    small_backbone.image(torch.zeros(1, 3, 32, 16), tuner)
    small_backbone.text(small_backbone.tokenizer(["a man"]), tuner)
    image = [("image", 1, "ln_1"), ("image", 1, "ln_2"), ("image", 1), ("image", 2, "ln_post")]
    assert asked == [*image, ("text", 2, "ln_final")]


def test_the_first_block_is_that_of_the_earliest_component(small_backbone):
    image, text = small_backbone.image, small_backbone.text
    assert (Tuner().first_block(image), Tuner().first_block(text)) == (3, 3)
    assert disturbed("linear", small_backbone).first_block(image) == 3
    both = disturbed("lora", small_backbone, blocks=1, towers="both")
    assert (both.first_block(image), both.first_block(text)) == (1, 1)
    camera = {"camera_embedding": "camera", "cameras": (1, 2)}
    assert disturbed("lora", small_backbone, blocks=1, **camera).first_block(image) == 0
    coop = disturbed("coop", small_backbone)
    assert (coop.first_block(image), coop.first_block(text)) == (3, 0)

    class Unknown(Component):
        def pool(self, walk, tokens, feature):
            return feature

    assert Tuner({"other": Unknown()}).first_block(image) == 0


@pytest.mark.parametrize("reads", [True, False])
def test_who_may_read_all_tokens_has_a_part_in_the_last_block(small_backbone, reads):
    """Rows computed once are shared by training and evaluation, in one of which such a component may not read them."""

    class Reader(Component):
        def first_block(self, tower):
            return tower.layers

        def reads_all_tokens(self):
            return reads

        def pool(self, walk, tokens, feature):
            return feature + (tokens.mean() if reads else 1.0)

    tower = small_backbone.image
    model = Model(small_backbone, Tuner({"reader": Reader()}))
    assert model.tuner.first_block(tower) == tower.layers - 1
    images = torch.randn(3, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        rows = tower.rows_before(images, Tuner(), Walk(), model.tuner.first_block(tower))
        from_rows = model.encode(Batch(None, frozen=rows))
    assert torch.equal(from_rows, model.encode(Batch(images)))
