"""Prefix rows on keys and values, against attention written out by hand."""

import torch

from reidtune.backbone.walk import Walk
from reidtune.tuning.prefix import Prefix
from reidtune.tuning.tuner import Tuner


def test_scaling_the_values_is_scaling_the_attention_after_the_softmax(small_backbone):
    """UP-Person multiplies the attention weights of the prefix by its scalar and does not normalise again."""
    tower = small_backbone.image
    prefix = Prefix(tower, 3, 10.0)
    with torch.no_grad():
        prefix.key.normal_(generator=torch.Generator().manual_seed(1))
        prefix.value.normal_(generator=torch.Generator().manual_seed(2))
    query, key, value = torch.randn(3, 2, 5, tower.width, generator=torch.Generator().manual_seed(3))
    keys, values = prefix.key_value(Walk(tower=tower), 1, key, value)
    ours = (query @ keys.mT).softmax(dim=-1) @ values
    weights = (query @ torch.cat([prefix.key[1].expand(2, -1, -1), key], dim=1).mT).softmax(dim=-1)
    weights = torch.cat([weights[..., :3] * 10.0, weights[..., 3:]], dim=-1)
    theirs = weights @ torch.cat([prefix.value[1].expand(2, -1, -1), value], dim=1)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_every_word_sees_the_prefix_and_no_later_word(small_backbone):
    prefix = Prefix(small_backbone.text, 2)
    with torch.no_grad():
        prefix.value.normal_(generator=torch.Generator().manual_seed(2))
    tuner = Tuner({"prefix": prefix})
    ids = small_backbone.tokenizer(["a man", "a man walking"])[:, :8]
    states = []

    class Trace(Tuner):
        def block(self, walk, layer, tokens):
            states.append(tokens)
            return tokens

    with torch.no_grad():
        small_backbone.text(ids, Trace({"prefix": prefix}))
        plain = small_backbone.text(ids, Tuner())
        ours = small_backbone.text(ids, tuner)
    first = states[0]
    assert torch.allclose(first[0, :3], first[1, :3], atol=1e-6)  # start, "a", "man": nothing of "walking"
    assert not torch.allclose(plain, ours, atol=1e-3)


def test_the_scale_is_there_only_where_it_is_asked_for(small_backbone):
    plain, scaled = Prefix(small_backbone.image, 2), Prefix(small_backbone.image, 2, 10.0)
    assert set(plain.state_dict()) == {"key", "value"}
    assert scaled.scale.tolist() == [10.0, 10.0]
    assert plain.key.min() >= 0
    assert plain.key.max() <= 0.01
