"""Features from the cache: the very same, only of unchanged files and of the same model, and never in the way."""

import os
from dataclasses import replace

import pytest
import torch
from PIL import Image

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.record import ImageFile, Record
from reidtune.retrieval import feature_cache
from reidtune.retrieval.embed import embed_records, embed_texts
from reidtune.retrieval.feature_cache import FeatureCache, code_stamp, record_key

pytestmark = pytest.mark.usefixtures("own_cache")

PREPROCESS = Preprocess(4, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic")


@pytest.fixture
def records(tmp_path):
    made = []
    for place in range(5):
        path = tmp_path / f"{place}.png"
        Image.new("RGB", (4, 4), (50 * place, 100, 30)).save(path)
        made.append(Record((ImageFile(path),), place % 2 + 1, camera=place))
    return made


class Counting:
    """An encoder that counts the images it sees."""

    def __init__(self):
        self.seen = 0

    def __call__(self, batch):
        self.seen += len(batch.images)
        return batch.images.flatten(1)


def embed(records, cache, encode, **options):
    return embed_records(encode, records, PREPROCESS, batch_size=2, cache=cache, **options)


def test_what_is_known_is_not_computed_and_bit_equal(records):
    plain, first, second = Counting(), Counting(), Counting()
    wanted = embed_records(plain, records, PREPROCESS, batch_size=2)
    assert torch.equal(embed(records[:3], FeatureCache("model", "data"), first), wanted[:3])
    cache, told = FeatureCache("model", "data"), []
    order = [records[4], records[0], records[3], records[2]]
    assert torch.equal(embed(order, cache, second, progress=told.append), wanted[[4, 0, 3, 2]])
    assert (first.seen, second.seen) == (3, 2)
    assert (cache.found, cache.computed) == (2, 2)
    assert told == [2, 2]
    assert cache.path.stat().st_mode & 0o077 == 0
    third = Counting()
    assert torch.equal(embed(records, FeatureCache("model", "data"), third), wanted)
    assert third.seen == 0


def test_an_image_that_is_listed_twice_is_computed_once_and_kept(records):
    twice, encode = [*records, replace(records[1])], Counting()
    features = embed(twice, FeatureCache("model", "data"), encode)
    assert encode.seen == len(records)
    assert torch.equal(features[-1], features[1])
    again, cache = Counting(), FeatureCache("model", "data")
    assert torch.equal(embed(twice, cache, again), features)
    assert (again.seen, cache.found) == (0, len(twice))


def test_another_model_and_another_dataset_know_nothing_of_it(records):
    embed(records, FeatureCache("model", "data"), Counting())
    for model, place in (("other", "data"), ("model", "elsewhere")):
        again = Counting()
        embed(records, FeatureCache(model, place), again)
        assert again.seen == len(records)


def test_a_changed_file_is_computed_anew_also_with_its_old_time(records):
    embed(records, FeatureCache("model", "data"), Counting())
    path = records[1].path
    before = path.stat()
    Image.new("RGB", (4, 4), (1, 2, 3)).save(path)
    path.write_bytes(path.read_bytes().ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again, plain = Counting(), Counting()
    features = embed(records, FeatureCache("model", "data"), again)
    assert again.seen == 1
    assert torch.equal(features, embed_records(plain, records, PREPROCESS, batch_size=2))


def test_what_a_model_may_read_is_part_of_the_key(records):
    one = records[0]
    keys = {
        record_key(one),
        record_key(replace(one, camera=9)),
        record_key(replace(one, scene=1)),
        record_key(replace(one, images=(replace(one.images[0], crop=(0, 0, 2, 2)),))),
        record_key(one, ("rgb",)),
        record_key(replace(one, modalities=("tir",)), ("rgb", "tir")),
    }
    assert len(keys) == 6
    assert record_key(replace(one, identity=7)) == record_key(one)


def test_captions_are_kept_beside_images(records):
    seen = []

    def encode(ids):
        seen.append(len(ids))
        return ids

    def tokenize(captions):
        return torch.tensor([[len(caption), ord(caption[0])] for caption in captions]).float()

    embed(records, FeatureCache("model", "data"), Counting())
    first = embed_texts(encode, ["a hat", "a", "a hat"], tokenize, cache=FeatureCache("model", "data"))
    second = embed_texts(encode, ["blue", "a hat"], tokenize, cache=FeatureCache("model", "data"))
    assert seen == [2, 1]
    assert torch.equal(first[0], first[2]) and torch.equal(second[1], first[0])
    again = Counting()
    embed(records, FeatureCache("model", "data"), again)
    assert again.seen == 0


def test_an_interrupted_embedding_keeps_what_it_has(records):
    class Stops(Counting):
        def __call__(self, batch):
            if self.seen == 4:
                raise KeyboardInterrupt
            return super().__call__(batch)

    with pytest.raises(KeyboardInterrupt):
        embed(records, FeatureCache("model", "data"), Stops())
    again = Counting()
    embed(records, FeatureCache("model", "data"), again)
    assert again.seen == 1


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", b"nothing of the kind"])
def test_a_damaged_file_is_replaced(records, content):
    cache = FeatureCache("model", "data")
    wanted = embed(records, cache, Counting())
    cache.path.write_bytes(content)
    again = Counting()
    assert torch.equal(embed(records, FeatureCache("model", "data"), again), wanted)
    assert again.seen == len(records)
    third = Counting()
    embed(records, FeatureCache("model", "data"), third)
    assert third.seen == 0


def test_a_table_that_is_not_finite_is_not_used(records):
    from safetensors.torch import load_file, save_file

    cache = FeatureCache("model", "data")
    embed(records, cache, Counting())
    tensors = load_file(cache.path)
    tensors["images.features"][0, 0] = float("nan")
    save_file(tensors, cache.path, {"reidtune-features": "1"})
    again = Counting()
    embed(records, FeatureCache("model", "data"), again)
    assert again.seen == len(records)


def test_a_cache_that_cannot_be_written_costs_nothing(records, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = FeatureCache("model", "data")
    assert torch.equal(embed(records, cache, Counting()), embed_records(Counting(), records, PREPROCESS, batch_size=2))


def test_the_files_unused_for_longest_make_room(records, monkeypatch):
    old, new = FeatureCache("old", "data"), FeatureCache("new", "data")
    embed(records, old, Counting())
    os.utime(old.path, (1, 1))
    size = old.path.stat().st_size
    monkeypatch.setattr(feature_cache, "MOST_BYTES", size + size // 2)
    embed(records, new, Counting())
    assert new.path.exists() and not old.path.exists()
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 0)
    embed(records, FeatureCache("last", "data"), Counting())
    assert len(list(new.path.parent.iterdir())) == 1  # the last one itself stays


def test_the_stamp_of_the_code_changes_with_a_file(tmp_path):
    plugin = tmp_path / "method.py"
    plugin.write_text("one")
    assert code_stamp(tmp_path) == code_stamp(plugin)  # a folder stands for its files
    before = code_stamp(plugin)
    assert before == code_stamp(plugin) != code_stamp()
    plugin.write_text("other")
    assert code_stamp(plugin) != before
