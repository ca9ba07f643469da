"""Where prompt rows stand, what they replace, and what becomes of the words."""

import pytest
import torch

from reidtune.backbone.walk import Walk
from reidtune.tuning.prompt_rows import BidirectionalPrompts, CoupledPrompts, TowerPrompts, make_room
from reidtune.tuning.tuner import Tuner

END = 49407


class Trace(Tuner):
    """Keeps the rows that enter every block."""

    def __init__(self, components):
        super().__init__(components)
        self.seen = {}

    def tokens(self, walk, layer, tokens):
        rows = super().tokens(walk, layer, tokens)
        self.seen[walk.kind, layer] = rows.detach()
        return rows


def images(count=2):
    return torch.randn(count, 3, 32, 16, generator=torch.Generator().manual_seed(1))


def words(*lengths):
    ids = torch.zeros(len(lengths), 77, dtype=torch.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[0] = 49406
        row[1 : 1 + length] = torch.arange(1000, 1000 + length)
        row[1 + length] = END
    return ids


@pytest.mark.parametrize("length", [0, 1, 3, 66, 67, 68, 75])
def test_words_move_right_and_the_end_token_stays(small_backbone, length):
    ids = words(length)
    before = ids.clone()
    tokens = ids[..., None].float()  # rows that say which id they were
    walk = Walk(tower=small_backbone.text, ids=ids)
    moved = make_room(walk, tokens, 8)
    kept = min(length, 67)
    assert torch.equal(ids, before)
    assert walk.ids.shape == moved.shape[:2] == (1, 77)
    assert walk.ids[0, 0] == 49406
    assert torch.equal(walk.ids[0, 9 : 9 + kept], torch.arange(1000, 1000 + kept))
    assert int(walk.ids.argmax(dim=1)) == 9 + kept
    assert (walk.ids[0, 10 + kept :] == 0).all()
    assert torch.equal(moved[0, 9:, 0], walk.ids[0, 9:].float())
    assert walk.ids[0, 1:9].max() < END


def test_a_short_batch_grows_by_the_rows_alone(small_backbone):
    ids = words(3, 5)[:, :7]
    walk = Walk(tower=small_backbone.text, ids=ids)
    assert make_room(walk, ids[..., None].float(), 4).shape == (2, 11, 1)
    assert walk.ids.argmax(dim=1).tolist() == [8, 10]


def test_image_rows_stand_at_the_end_and_are_replaced(small_backbone):
    prompts = TowerPrompts(small_backbone.image, 3, 2)
    trace = Trace({"prompts": prompts})
    small_backbone.image(images(), trace)
    patches = 4 * 2
    for layer in range(2):
        assert trace.seen["image", layer].shape[1] == 1 + patches + 3
    assert torch.equal(trace.seen["image", 1][:, -3:], prompts.prompts[1].detach().expand(2, -1, -1))


def test_image_rows_get_no_position_and_go_through_ln_pre(small_backbone):
    prompts = TowerPrompts(small_backbone.image, 3, 1)
    trace = Trace({"prompts": prompts})
    small_backbone.image(images(), trace)
    parameters = small_backbone.image.parameters
    expected = torch.nn.functional.layer_norm(
        prompts.prompts[0], (32,), parameters["visual.ln_pre.weight"], parameters["visual.ln_pre.bias"]
    )
    assert torch.allclose(trace.seen["image", 0][0, -3:], expected, atol=1e-6)


def test_text_rows_stand_behind_the_start_token_with_positions(small_backbone):
    prompts = TowerPrompts(small_backbone.text, 2, 2)
    trace = Trace({"prompts": prompts})
    small_backbone.text(small_backbone.tokenizer(["a man", "a woman in red"]), trace)
    positions = small_backbone.text.parameters["positional_embedding"]
    assert torch.allclose(trace.seen["text", 0][0, 1:3], prompts.prompts[0] + positions[1:3], atol=1e-6)
    assert torch.equal(trace.seen["text", 1][1, 1:3], prompts.prompts[1].detach())


def test_rows_are_carried_on_after_the_last_prompted_block(small_backbone):
    trace = Trace({"prompts": TowerPrompts(small_backbone.image, 3, 1)})
    small_backbone.image(images(), trace)
    assert trace.seen["image", 1].shape == trace.seen["image", 0].shape
    assert not torch.equal(trace.seen["image", 1][:, -3:], trace.seen["image", 0][:, -3:])


def test_a_block_with_rows_of_its_own_does_not_see_those_of_the_block_before(small_backbone):
    """Replacing the rows makes a block independent of what became of the last ones."""
    prompts = TowerPrompts(small_backbone.image, 3, 2)

    class Spoil(Tuner):
        def block(self, walk, layer, tokens):
            tokens = tokens.clone()
            if layer == 0:
                tokens[:, -3:] = 1e3
            return tokens

    with torch.no_grad():
        plain = small_backbone.image(images(), Tuner({"prompts": prompts}))
        spoiled = small_backbone.image(images(), Spoil({"prompts": prompts}))
    assert torch.equal(plain, spoiled)


def test_coupled_rows_of_the_image_tower_are_the_texts_through_a_map_a_block(small_backbone):
    prompts = CoupledPrompts(small_backbone.image, small_backbone.text, 2, 9)
    assert prompts.depth("image") == 2  # at most the blocks there are
    for layer in range(2):
        assert torch.equal(prompts.rows("text", layer), prompts.prompts[layer])
        assert torch.equal(prompts.rows("image", layer), prompts.to_image[layer](prompts.prompts[layer]))
    assert not torch.equal(prompts.to_image[0].weight, prompts.to_image[1].weight)


def test_bidirectional_rows_are_mapped_rows_and_own_rows_in_the_published_order(small_backbone):
    prompts = BidirectionalPrompts(small_backbone.image, small_backbone.text, 4, 2)
    for layer in range(2):
        image, text = prompts.rows("image", layer), prompts.rows("text", layer)
        assert torch.equal(image[:4], prompts.to_image[layer](prompts.text[layer]))
        assert torch.equal(image[4:], prompts.image[layer])
        assert torch.equal(text[:4], prompts.text[layer])
        assert torch.equal(text[4:], prompts.to_text[layer](prompts.image[layer]))


def test_initial_values_are_normal_with_a_deviation_of_0_02(vit_b_16):
    prompts = BidirectionalPrompts(vit_b_16.image, vit_b_16.text, 4, 12)
    assert prompts.image.std().item() == pytest.approx(0.02, rel=0.03)
    assert prompts.to_image[3].weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert prompts.to_text[0].bias.abs().max() == 0
