from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from reidtune.data import duplicates
from reidtune.data.duplicates import near_duplicates, near_pairs, same_bytes
from reidtune.data.look import print_of


def ones(number):
    return bin(int(number)).count("1")


def test_same_bytes_are_found_and_only_files_of_one_size_are_read(tmp_path, monkeypatch):
    paths = {}
    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"one"), ("d", b"longer"), ("e", b"two"), ("f", b"six")):
        paths[name] = tmp_path / name
        paths[name].write_bytes(content)
    paths["gone"] = tmp_path / "gone"
    opened = []
    real = type(tmp_path).open
    monkeypatch.setattr(type(tmp_path), "open", lambda self, mode: opened.append(self.name) or real(self, mode))
    groups = same_bytes([(path, 6 if name == "d" else 3) for name, path in paths.items()])
    assert [[path.name for path in group] for group in groups] == [["a", "c"], ["b", "e"]]
    assert "d" not in opened


@pytest.mark.parametrize("most", [0, 1, 4, 6, 9])
@pytest.mark.parametrize("tile", [1, 2**22])
def test_near_pairs_are_those_of_comparing_all(monkeypatch, most, tile):
    monkeypatch.setattr(duplicates, "_TILE", tile)
    rng = np.random.default_rng(most)
    first = rng.integers(0, 2**64, 80, dtype=np.uint64)
    second = np.concatenate([first[:60], rng.integers(0, 2**64, 20, dtype=np.uint64), first[:3]])
    for place in range(60):
        for bit in rng.choice(64, place % 12, replace=False):
            second[place] ^= np.uint64(1 << int(bit))
    found = [tuple(pair) for pairs in near_pairs(first, second, most) for pair in pairs.tolist()]
    expected = [(i, j) for i, one in enumerate(first) for j, other in enumerate(second) if ones(one ^ other) <= most]
    assert sorted(found) == expected  # each once
    assert len(expected) > most * 5


def prints(*images):
    return [(image.bits, image.thumbnail) for image in map(print_of, images)]


def noise(seed, size=(64, 128)):
    values = np.random.default_rng(seed).integers(0, 256, (12, 6, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def test_compressed_and_scaled_copies_are_near_and_others_are_not():
    train = prints(*(noise(seed) for seed in range(30)))
    test = prints(jpeg(noise(3), 60), noise(4).resize((128, 256)), noise(99), noise(5).convert("L").convert("RGB"))
    pairs, complete = near_duplicates(train, test)
    assert sorted(pairs.tolist()) == [[3, 0], [4, 1]]  # without its colours it is another picture
    assert complete


def test_the_nearest_pair_comes_first_and_thresholds_are_kept():
    grey = bytes([100] * 216)
    train = [(0, grey), (0, bytes([102] * 216)), (0, bytes([105] * 216))]
    pairs, _ = near_duplicates(train, [(0b111, grey)], bits=3, difference=2)
    assert pairs.tolist() == [[0, 0], [1, 0]]
    assert near_duplicates(train, [(0b1111, grey)], bits=3)[0].tolist() == []
    assert near_duplicates([], train)[0].shape == (0, 2)


def test_the_search_ends_after_a_number_of_pairs(monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 10)
    same = [(7, bytes(216))] * 5
    pairs, complete = near_duplicates(same, same)
    assert len(pairs) == 10
    assert not complete
