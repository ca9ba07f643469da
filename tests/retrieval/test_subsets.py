"""What is known of samples, by subset. Images are of one colour each and the encoder reads that hue."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from PIL import Image

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DataError, SettingsError
from reidtune.fusion import join, present_of
from reidtune.retrieval.rank import rank
from reidtune.retrieval.subsets import choose, embed_sides, rank_sides, restrict, subsets

PREPROCESS = Preprocess(8, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NAMES = ("rgb", "nir", "tir")


def encode(batch):
    """Mean red and green of each modality, joined, [B, 6]: the angle of a feature is the hue."""
    return join(batch.images.mean((3, 4))[:, :, :2], present_of(batch))


@pytest.fixture
def sample(tmp_path):
    """A record whose modalities lie at the given angles in degrees."""

    def make(identity, camera=None, **angles):
        images = []
        for angle in angles.values():
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
            red, green = (round(250 * part(math.radians(angle))) for part in (math.cos, math.sin))
            Image.new("RGB", (6, 12), (red, green, 0)).save(path)
            images.append(ImageFile(path))
        return Record(tuple(images), identity, camera, modalities=tuple(angles))

    return make


def test_modalities_are_chosen_by_any_of_their_names():
    assert choose(["TI", "vis"], NAMES) == ("rgb", "tir")
    assert choose(["nir", "nir"], NAMES) == ("nir",)
    assert choose(["depth", "th"], ("rgb", "th", "depth")) == ("th", "depth")  # the data's own names come first
    with pytest.raises(SettingsError, match='--query-modalities: the data has no modality "nirr". Did you mean "nir"'):
        choose(["nirr"], NAMES, "--query-modalities")
    with pytest.raises(SettingsError, match="--modalities names no modality"):
        choose([], NAMES)


def test_subsets():
    assert subsets(NAMES) == [
        ("rgb",),
        ("nir",),
        ("tir",),
        ("rgb", "nir"),
        ("rgb", "tir"),
        ("nir", "tir"),
        ("rgb", "nir", "tir"),
    ]
    assert len(subsets("abcd")) == 15
    with pytest.raises(SettingsError, match="5 modalities have 31 subsets") as caught:
        subsets("abcde")
    assert "--modalities a,b,c,d" in caught.value.hint


def test_restricting_keeps_what_there_is(sample):
    record = sample(1, rgb=10, tir=20)
    assert restrict(record, NAMES) is record
    left = restrict(record, ("nir", "tir"))
    assert (left.images, left.modalities, left.identity) == (record.images[1:], ("tir",), 1)
    assert restrict(record, ("nir",)) is None


def test_what_is_known_is_embedded_once(sample):
    records = [sample(1, rgb=10, nir=20, tir=30), sample(2, rgb=10, nir=20), sample(3, tir=5)]
    seen, told = [], []

    def counting(batch):
        seen.extend(tuple(row) for row in present_of(batch).int().tolist())
        return encode(batch)

    sides = embed_sides(
        counting,
        PREPROCESS,
        (records, subsets(NAMES)),
        (records[:2], subsets(NAMES)),
        modalities=NAMES,
        batch_size=4,
        progress=lambda *count: told.append(count),
    )
    # Seven subsets of the first, three of the second, one of the third.
    assert sorted(seen) == sorted([*list(product((0, 1), repeat=3))[1:], (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1)])
    assert told == [(4, 11), (8, 11), (11, 11)]
    queries, galleries = sides
    assert [(side.subset, len(side.records), side.left_out) for side in queries.values()] == [
        (("rgb",), 2, 1),
        (("nir",), 2, 1),
        (("tir",), 2, 1),
        (("rgb", "nir"), 2, 1),
        (("rgb", "tir"), 3, 0),
        (("nir", "tir"), 3, 0),
        (NAMES, 3, 0),
    ]
    assert [record.identity for record in queries["tir",].records] == [1, 3]
    assert [record.modalities for record in queries["nir", "tir"].records] == [("nir", "tir"), ("nir",), ("tir",)]
    assert torch.equal(queries["rgb", "tir"].features[:2], galleries["rgb", "tir"].features)
    angles = torch.rad2deg(torch.atan2(*queries["tir",].features[:, 4:].T.flip(0)))
    assert angles.tolist() == pytest.approx([30, 5], abs=0.5)
    assert not queries["tir",].features[:, :4].any()


def test_a_side_without_anything_is_refused(sample):
    records = [sample(1, rgb=10), sample(2, rgb=10, nir=20)]
    with pytest.raises(DataError, match="No sample of the gallery has any of tir, nir"):
        embed_sides(encode, PREPROCESS, (records, [("rgb",)]), (records[:1], [("tir",), ("nir",)]), modalities=NAMES)
    # One subset may find nothing where another does.
    query, gallery = embed_sides(
        encode, PREPROCESS, (records, [("rgb",)]), (records, [("tir",), ("nir",)]), modalities=NAMES
    )
    with pytest.raises(DataError, match="No sample has any of tir"):
        rank_sides(query["rgb",], gallery["tir",], "all", 3)
    assert rank_sides(query["rgb",], gallery["nir",], "all", 3).first_hit.tolist() == [0, 1]


def test_sides_are_ranked_by_what_both_know(sample):
    """The thermal images tell, the visible ones mislead."""
    query = [sample(1, 0, rgb=80, tir=10)]
    gallery = [sample(2, 1, rgb=80, tir=50), sample(1, 1, rgb=10, tir=12), sample(3, 1, rgb=50)]
    wanted = [("rgb",), ("tir",), ("rgb", "tir")]
    queries, galleries = embed_sides(
        encode, PREPROCESS, (query, wanted), (gallery, wanted), modalities=NAMES, batch_size=2
    )
    found = {
        (one, other): rank_sides(queries[one], galleries[other], "cross-camera", 3).first_hit.item()
        for one, other in product(wanted, wanted)
    }
    both = ("rgb", "tir")
    assert found == {
        (("rgb",), ("rgb",)): 3,
        (("rgb",), ("tir",)): 2,  # nothing in common: the hue alone, 80° against 50° and 12°
        (("rgb",), both): 3,
        (("tir",), ("rgb",)): 1,  # 10° against 80°, 10° and 50°
        (("tir",), ("tir",)): 1,
        (("tir",), both): 1,
        (both, ("rgb",)): 3,
        (both, ("tir",)): 1,
        (both, both): 3,  # 70° apart in one of two; the 3 is compared by its visible image alone, 30° apart
    }


def test_a_sample_never_finds_itself_whatever_is_known_of_it(sample):
    """Of leave-one-out parts of the set are left out on either side, and the rest still knows itself."""
    records = [
        sample(1, rgb=10),
        sample(1, rgb=20, tir=20),
        sample(2, rgb=21, tir=60),
        sample(1, tir=70),
        sample(2, rgb=60, tir=58),
    ]
    wanted = [("rgb",), ("tir",), ("rgb", "tir")]
    queries, galleries = embed_sides(
        encode, PREPROCESS, (records, wanted), (records, wanted), modalities=("rgb", "tir"), batch_size=2
    )
    assert queries["rgb",].rows == [0, 1, 2, 4]
    assert galleries["tir",].rows == [1, 2, 3, 4]
    result = rank_sides(queries["rgb",], galleries["tir",], "leave-one-out", 2)
    # 10° finds 20°; 20° not itself, so 58°, 60°, 70°; 21° its other at 58° after 20°; 60° itself left out, 2 at 60°.
    assert result.first_hit.tolist() == [1, 3, 2, 1]
    result = rank_sides(queries["tir",], galleries["rgb", "tir"], "leave-one-out", 2)
    expected = rank(
        queries["tir",].features,
        galleries["rgb", "tir"].features,
        query_ids=[1, 2, 1, 2],
        gallery_ids=[1, 1, 2, 1, 2],
        query_cameras=[11, 22, 13, 24],  # a camera each sample
        gallery_cameras=[10, 11, 22, 13, 24],
        pieces=2,
    )
    assert result.metrics() == pytest.approx(expected.metrics())


def test_one_modality_is_plain_images(sample):
    records = [sample(1, rgb=10, tir=80), sample(1, rgb=60), sample(2, rgb=20, tir=40)]
    seen = []

    def plain(batch):
        seen.append((batch.images.shape, batch.present))
        return batch.images.mean((2, 3))[:, :2]

    query, gallery = embed_sides(plain, PREPROCESS, (records, [("tir",)]), (records, [("rgb",)]))
    assert seen == [(torch.Size([5, 3, 8, 4]), None)]
    assert query["tir",].left_out == 1
    assert rank_sides(query["tir",], gallery["rgb",], "leave-one-out", 1).first_hit.tolist() == [1, 0]
