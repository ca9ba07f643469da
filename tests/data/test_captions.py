"""Captions as samples, and their token ids while training."""

from pathlib import Path

import open_clip
import torch

from reidtune.data.captions import caption_ids, one_caption_each
from reidtune.data.record import ImageFile, Record

TOKENIZER = open_clip.SimpleTokenizer(context_length=77)


def record(name, identity, *captions):
    return Record((ImageFile(Path(name)),), identity, captions=captions)


def test_every_caption_is_a_sample_in_order():
    records = [record("a.png", 1, "one", "two"), record("b.png", 2), record("c.png", 3, "three")]
    samples = one_caption_each(records)
    assert [(sample.path.name, sample.identity, sample.captions) for sample in samples] == [
        ("a.png", 1, ("one",)),
        ("a.png", 1, ("two",)),
        ("c.png", 3, ("three",)),
    ]


def test_without_masking_the_ids_are_the_tokenizers():
    samples = one_caption_each([record("a.png", 1, "A man in a RED coat", "a dog")])
    ids = caption_ids(TOKENIZER, samples, seed=1, epoch=0, start=0, masking=0.0)
    assert torch.equal(ids, TOKENIZER(["a man in a red coat", "a dog"]))


def test_masking_depends_on_seed_epoch_and_position_and_not_on_the_batch():
    samples = [record("a.png", 1, "a man in a red coat with a large blue bag and a small white dog")] * 4

    def ids(**changes):
        return caption_ids(TOKENIZER, samples, **{"seed": 1, "epoch": 2, "start": 8, "masking": 0.3, **changes})

    whole = ids()
    assert torch.equal(whole, ids())
    assert not torch.equal(whole[0], whole[1])
    later = caption_ids(TOKENIZER, samples[2:], seed=1, epoch=2, start=10, masking=0.3)
    assert torch.equal(whole[2:], later)
    for other in (ids(seed=2), ids(epoch=3), ids(start=12)):
        assert not torch.equal(whole, other)


def test_long_captions_keep_their_end_token():
    ids = caption_ids(TOKENIZER, [record("a.png", 1, "red " * 100)], seed=1, epoch=0, start=0, masking=0.15)
    assert ids.shape == (1, 77)
    assert int(ids[0, -1]) == 49407
