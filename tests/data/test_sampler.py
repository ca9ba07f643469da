from __future__ import annotations

from collections import Counter

import pytest

from reidtune.data import IdentitySampler, ShuffleSampler
from reidtune.errors import SettingsError

from .conftest import captioned, record


def records_of(*counts):
    return [record(identity) for identity, count in enumerate(counts, 1) for _ in range(count)]


def checked(records, P, K, epoch=0, seed=0):
    """The batches of an epoch, after checking what holds for every batch."""
    sampler = IdentitySampler(records, P, K, seed)
    batches = sampler.batches(epoch)
    assert len(batches) == len(sampler)
    for batch in batches:
        assert len(batch) == P * K == sampler.batch_size
        assert set(Counter(records[i].identity for i in batch).values()) == {K}
        groups = [batch[start : start + K] for start in range(0, P * K, K)]
        assert all(len({records[i].identity for i in group}) == 1 for group in groups)
    return batches


def groups_of(records, batches, K):
    return Counter(records[i].identity for batch in batches for i in batch[::K])


def test_an_epoch_is_a_function_of_seed_and_epoch():
    records = records_of(*[5] * 12)
    first = IdentitySampler(records, 4, 2, seed=1)
    assert first.batches(3) == IdentitySampler(records, 4, 2, seed=1).batches(3) == first.batches(3)
    assert first.batches(3) != first.batches(4)
    assert first.batches(3) != IdentitySampler(records, 4, 2, seed=2).batches(3)


def test_even_identities_are_seen_exactly_once():
    records = records_of(*[6] * 8)
    batches = checked(records, 4, 3)
    assert len(batches) == 4
    assert sorted(i for batch in batches for i in batch) == list(range(48))


def test_unequal_identities_follow_the_rule():
    counts = (1, 2, 3, 4, 5, 9, 12, 7, 3)
    records = records_of(*counts)
    K, P = 4, 3
    batches = checked(records, P, K)
    expected = {identity: -(-count // K) for identity, count in enumerate(counts, 1)}
    seen = groups_of(records, batches, K)
    extra = {identity: seen[identity] - expected[identity] for identity in expected}
    assert set(extra.values()) <= {0, 1}
    assert sum(extra.values()) == len(batches) * P - sum(expected.values()) < P
    assert set(range(len(records))) == {i for batch in batches for i in batch}


def test_few_images_are_repeated_only_as_needed():
    records = records_of(1, 3, 8, 8)
    for epoch in range(5):
        for batch in checked(records, 2, 4, epoch):
            for group in (batch[:4], batch[4:]):
                times = sorted(Counter(group).values())
                assert times == {1: [4], 2: [1, 1, 2]}.get(records[group[0]].identity, [1, 1, 1, 1])


def test_an_identity_with_most_images_is_in_every_batch_and_no_other_is_worn_out():
    records = records_of(400, 4, 4, 4, 4)
    batches = checked(records, 3, 4)
    seen = groups_of(records, batches, 4)
    assert len(batches) == 2
    assert seen[1] == 2
    assert all(seen[identity] == 1 for identity in range(2, 6))
    later = {i for epoch in range(40) for batch in checked(records, 3, 4, epoch) for i in batch}
    assert len([i for i in later if records[i].identity == 1]) > 150  # the others come in other epochs


def test_the_leftover_groups_fill_one_more_batch():
    records = records_of(*[4] * 7)
    batches = checked(records, 3, 4)
    assert len(batches) == 3
    assert sorted(groups_of(records, batches, 4).values()) == [1, 1, 1, 1, 1, 2, 2]


def test_mates_in_a_batch_change():
    records = records_of(*[40] * 16)
    mates = {frozenset(records[i].identity for i in batch) for batch in checked(records, 4, 4)}
    assert len(mates) > 35  # 40 batches; dealing whole rows would give 4 sets


def test_junk_and_distractors_are_never_drawn():
    records = [record(-1), record(0), *records_of(3, 3, 3)]
    assert {i for batch in checked(records, 2, 2) for i in batch} == set(range(2, 11))


def test_too_few_identities_are_refused_with_a_batch_size_that_works():
    with pytest.raises(SettingsError, match="16 identities, but only 3") as error:
        IdentitySampler(records_of(3, 3, 3), 16, 4, 0)
    assert "at most 12" in error.value.hint


@pytest.mark.parametrize(("P", "K"), [(1, 4), (4, 0)])
def test_batches_that_compare_nothing_are_refused(P, K):
    with pytest.raises(SettingsError, match=f"{P} identities × {K} images"):
        IdentitySampler(records_of(3, 3, 3, 3), P, K, 0)


def shuffled(identities, batch_size, seed=1):
    return ShuffleSampler([record(identity) for identity in identities], batch_size, seed)


@pytest.mark.parametrize(("count", "size", "sizes"), [(8, 4, [4, 4]), (10, 4, [4, 4, 2]), (9, 4, [4, 5]), (3, 2, [3])])
def test_shuffled_every_sample_comes_once_and_no_batch_has_one(count, size, sizes):
    sampler = shuffled([1] * count, size)
    batches = sampler.batches(0)
    assert [len(batch) for batch in batches] == sizes
    assert len(sampler) == len(batches)
    assert sorted(index for batch in batches for index in batch) == list(range(count))


def test_shuffled_order_is_a_function_of_seed_and_epoch():
    sampler = shuffled([1, 2] * 20, 8)
    assert sampler.batches(3) == shuffled([1, 2] * 20, 8).batches(3)
    assert sampler.batches(3) != sampler.batches(4)
    assert sampler.batches(3) != shuffled([1, 2] * 20, 8, seed=2).batches(3)


def test_shuffled_junk_and_distractors_are_never_drawn():
    assert sorted(i for batch in shuffled([1, 0, 2, -1, 3], 2).batches(0) for i in batch) == [0, 2, 4]


@pytest.mark.parametrize(("identities", "size"), [([1], 4), ([0, -1, 1], 4), ([1, 2, 3], 1)])
def test_shuffled_too_little_is_refused(identities, size):
    with pytest.raises(SettingsError, match="cannot be sampled"):
        shuffled(identities, size)


def samples_of(*images):
    """A sample a caption: ``images`` are captions an image, for each identity."""
    return [
        captioned(identity, f"caption {number}", name=f"{identity}/{image}.png")
        for identity, counts in enumerate(images, 1)
        for image, count in enumerate(counts)
        for number in range(count)
    ]


@pytest.mark.parametrize("K", [2, 3, 4])
def test_captions_of_one_image_are_kept_apart(K):
    records = samples_of(*[(2, 2, 2, 2)] * 6, (1, 2, 1, 3, 2), (3, 1, 3, 1, 3))
    for epoch in range(8):
        batches = checked(records, 4, K, epoch)
        assert set(range(len(records))) == {i for batch in batches for i in batch}
        for batch in batches:
            for start in range(0, len(batch), K):
                assert len({records[i].path for i in batch[start : start + K]}) >= min(K, 3)


def test_captions_of_the_only_image_fill_a_group():
    records = samples_of((2,), (3,), (1, 1))
    for batch in checked(records, 3, 2):
        assert all(len(set(batch[start : start + 2])) == 2 for start in (0, 2, 4))


def test_which_captions_meet_changes_with_the_epoch():
    records = samples_of(*[(2, 2, 2, 2)] * 4)
    sampler = IdentitySampler(records, 2, 2, 0)
    pairs = {frozenset(batch[:2]) for epoch in range(200) for batch in sampler.batches(epoch)}
    assert len(pairs) == 4 * 24  # every pair of different images, four captions pairs each


def test_fewer_samples_than_a_batch_are_one_batch():
    sampler = ShuffleSampler(records_of(3), 8, 0)
    assert (len(sampler), sampler.batch_size, [len(batch) for batch in sampler.batches(0)]) == (1, 8, [3])
