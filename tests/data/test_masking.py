"""Word masking: what is chosen, what becomes of it, and on what that depends."""

import torch

from reidtune.data.masking import mask_words

START, END, MASK = 49406, 49407, 49405


def captions(count, words, length=77):
    ids = torch.zeros(count, length, dtype=torch.int64)
    ids[:, 0] = START
    ids[:, 1 : 1 + words] = 320  # "a"
    ids[:, 1 + words] = END
    return ids


def test_shares_are_those_of_the_paper():
    ids = captions(2000, 50)
    masked = mask_words(ids, range(2000))[:, 1:51]
    changed = masked != 320
    chosen = 100_000 * 0.15
    assert abs(int((masked == MASK).sum()) - 0.8 * chosen) < 400  # standard deviation about 103
    others = masked[changed & (masked != MASK)]
    assert abs(len(others) - 0.1 * chosen) < 160  # standard deviation about 39
    assert 1 <= int(others.min()) and int(others.max()) < START
    assert len(others.unique()) > 1000  # random words, not one


def test_only_words_are_masked_and_the_input_stays():
    ids = captions(300, 5)
    before = ids.clone()
    masked = mask_words(ids, range(300), 0.9)
    assert torch.equal(ids, before)
    outside = torch.ones(77, dtype=torch.bool)
    outside[1:6] = False
    assert torch.equal(masked[:, outside], ids[:, outside])
    assert (masked[:, 1:6] != 320).any(dim=0).all()


def test_at_least_one_word_is_chosen():
    masked = mask_words(captions(400, 1), range(400), 1e-9)
    share = float((masked[:, 1] != 320).float().mean())
    assert 0.8 < share < 0.97  # nine in ten of the chosen change


def test_a_caption_follows_from_its_own_seed_alone():
    ids = captions(4, 30)
    one = mask_words(ids, [3, 1, 4, 1])
    assert torch.equal(one[1], one[3])
    assert not torch.equal(one[0], one[1])
    assert torch.equal(mask_words(ids[2:3], [4])[0], one[2])


def test_a_caption_without_words_stays():
    ids = captions(1, 0)
    assert torch.equal(mask_words(ids, [0]), ids)
