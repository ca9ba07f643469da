"""Batches of P identities × K images, for losses that compare images within a batch (Hermans et al., 2017)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from random import Random

from reidtune.data.record import ImageFile, Record
from reidtune.errors import SettingsError
from reidtune.seeds import derive_seed


class IdentitySampler:
    """P distinct identities with K images each in every batch; a pure function of (seed, epoch).

    The rule of an epoch: the n images of an identity are shuffled and dealt into ⌈n/K⌉ groups of K. The last group is
    filled up from the identity's other images; an identity with fewer than K images repeats them, each as often as
    the others give or take one. Groups are then dealt to batches so that no batch has an identity twice. So every
    image is seen at least once an epoch, and an identity ⌈n/K⌉ times, with two exceptions:
    up to P−1 identities are seen once more, to fill the last batch; and an identity with more groups than there are
    full batches is in every batch, its other images wait for a later epoch. The number of batches does not depend on
    the epoch.

    Records that share an image (its captions) are dealt so that the K of a group show different images as far as the
    identity has them.

    Junk and distractors (identity ≤ 0) are never drawn. Raises ``SettingsError`` where there are fewer than P
    identities, or P < 2 or K < 1.
    """

    def __init__(self, records: Sequence[Record], identities: int, instances: int, seed: int) -> None:
        self.identities = identities
        self.instances = instances
        self.seed = seed
        self._records = records
        self._images: dict[int, list[int]] = {}
        for index, record in enumerate(records):
            if record.identity > 0:
                self._images.setdefault(record.identity, []).append(index)
        if identities < 2 or instances < 1:
            raise SettingsError(
                f"A batch of {identities} identities × {instances} images cannot be sampled.",
                "Choose at least 2 identities and 1 image an identity.",
            )
        if len(self._images) < identities:
            raise SettingsError(
                f"A batch needs {identities} identities, but only {len(self._images)} are there to train on.",
                f"Choose a batch size of at most {len(self._images) * instances} "
                f"({len(self._images)} identities × {instances} images).",
            )
        self._batches = self._count_batches()

    @property
    def batch_size(self) -> int:
        """Images in a batch, P·K."""
        return self.identities * self.instances

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._batches

    def batches(self, epoch: int) -> list[list[int]]:
        """The epoch's batches of P·K indices into the records; the K of one identity stand together."""
        rng = Random(derive_seed("sampler", self.seed, epoch))
        groups = {identity: self._deal(images, rng) for identity, images in self._images.items()}
        order = list(groups)
        rng.shuffle(order)
        missing = self._batches * self.identities - sum(len(groups[identity]) for identity in order)
        while missing > 0:
            for identity in order:
                if missing > 0 and len(groups[identity]) < self._batches:
                    extra = self._shuffled(self._images[identity], rng)
                    groups[identity].append([extra[i % len(extra)] for i in range(self.instances)])
                    missing -= 1
        return self._spread(groups, order, rng)

    def _count_batches(self) -> int:
        """The most batches of P distinct identities that the groups fill, and one more where groups are left over."""
        sizes = [-(-len(images) // self.instances) for images in self._images.values()]
        low, high = 1, max(1, sum(sizes) // self.identities)
        while low < high:
            middle = (low + high + 1) // 2
            if sum(min(size, middle) for size in sizes) >= middle * self.identities:
                low = middle
            else:
                high = middle - 1
        return low + (sum(min(size, low) for size in sizes) > low * self.identities)

    def _deal(self, images: list[int], rng: Random) -> list[list[int]]:
        K = self.instances
        deck = self._shuffled(images, rng)
        groups = [deck[start : start + K] for start in range(0, len(deck), K)]
        last = groups[-1]
        others = deck[: len(deck) - len(last)]
        there = {self._records[index].images for index in last}
        fresh = [index for index in others if self._records[index].images not in there]
        others = fresh if len(fresh) >= K - len(last) else others
        if len(others) >= K - len(last):
            last.extend(rng.sample(others, K - len(last)))
        else:
            last.extend(deck[i % len(deck)] for i in range(K - len(last)))
        rng.shuffle(groups)  # where some must wait, the filled-up one is as likely to as the others
        return groups[: self._batches]

    def _shuffled(self, images: list[int], rng: Random) -> list[int]:
        """``images`` in random order; of those that are one image, a second is dealt when each image had its first, a
        third when each that has so many had its second. Those with most come first, which keeps their own apart."""
        deck = images.copy()
        rng.shuffle(deck)
        captions: dict[tuple[ImageFile, ...], list[int]] = {}
        for index in deck:
            captions.setdefault(self._records[index].images, []).append(index)
        several = sorted(captions.values(), key=len, reverse=True)
        return [group[turn] for turn in range(len(several[0])) for group in several if turn < len(group)]

    def _spread(self, groups: dict[int, list[list[int]]], order: list[int], rng: Random) -> list[list[int]]:
        """Deal every identity's groups to different batches: to those with most room, which always succeeds.

        (The construction behind the Gale–Ryser theorem: rows in any order, each to the fullest columns.)
        """
        batches: list[list[int]] = [[] for _ in range(self._batches)]
        room = [(-self.identities, rng.random(), number) for number in range(self._batches)]
        heapq.heapify(room)
        for identity in order:
            taken = [heapq.heappop(room) for _ in groups[identity]]
            for (left, _, number), group in zip(taken, groups[identity], strict=True):
                batches[number].extend(group)
                heapq.heappush(room, (left + 1, rng.random(), number))
        return batches


class ShuffleSampler:
    """Every sample once an epoch in random order, ``batch_size`` at a time; a pure function of (seed, epoch).

    The last batch holds what is left; a single sample that is left joins the batch before, since batch norm and losses
    between pairs need two. Junk and distractors (identity ≤ 0) are never drawn. Raises ``SettingsError`` for a batch of
    one or fewer than two samples.
    """

    def __init__(self, records: Sequence[Record], batch_size: int, seed: int) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self._samples = [index for index, record in enumerate(records) if record.identity > 0]
        if batch_size < 2 or len(self._samples) < 2:
            raise SettingsError(
                f"Batches of {batch_size} cannot be sampled from {len(self._samples)} samples.",
                "Both must be at least 2.",
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, left = divmod(len(self._samples), self.batch_size)
        return max(1, full + (left > 1))

    def batches(self, epoch: int) -> list[list[int]]:
        """The epoch's batches of indices into the records."""
        deck = self._samples.copy()
        Random(derive_seed("sampler", self.seed, epoch)).shuffle(deck)
        starts = [number * self.batch_size for number in range(len(self))]
        return [deck[start:end] for start, end in zip(starts, [*starts[1:], len(deck)], strict=True)]
