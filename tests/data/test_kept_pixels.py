"""Kept pixels: the very same as decoded ones, never those of another image, and never in the way."""

import os
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from reidtune.backbone.preprocess import Preprocess
from reidtune.data import EvalTransform, TrainTransform, eval_loader, label_map, train_loader
from reidtune.data import kept_pixels as module
from reidtune.data import loader as loader_module
from reidtune.data.kept_pixels import KeptPixels, file_key
from reidtune.data.reading import reading
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DataError

pytestmark = pytest.mark.usefixtures("own_cache")

PREPROCESS = Preprocess(16, 8, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
BATCHES = [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]


@pytest.fixture
def records(photos):
    return photos(6)


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded in this process."""
    names, read = [], loader_module.read_image
    monkeypatch.setattr(loader_module, "read_image", lambda file: names.append(file.path.name) or read(file))
    return names


def keep(records, preprocess=PREPROCESS):
    kept = KeptPixels([image for record in records for image in record.images], preprocess)
    kept.create()
    return kept


def epoch(records, number=0, workers=0, **options):
    batches = train_loader(
        records, label_map(records), BATCHES, TrainTransform(PREPROCESS), 3, number, workers=workers, **options
    )
    return [images for images, _, _ in batches]


def same(first, second):
    return len(first) == len(second) and all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_has_the_very_tensors(records, decoded, workers):
    plain = [epoch(records, number) for number in range(3)]
    evaluated = list(eval_loader(records, EvalTransform(PREPROCESS), 4))
    decoded.clear()
    with reading(kept=keep(records)):
        assert all(same(epoch(records, number, workers), plain[number]) for number in range(3))
        assert same(list(eval_loader(records, EvalTransform(PREPROCESS), 4, workers)), evaluated)
        assert same(epoch(records, 1, workers, start=1), plain[1][1:])
    assert len(decoded) == (0 if workers else 6)  # each once, and not here where there are workers
    decoded.clear()
    with reading(kept=keep(records)):  # another run
        assert same(epoch(records, 2), plain[2])
    assert not decoded


def test_modalities_and_crops_are_kept_apart(tmp_path, decoded):
    path = tmp_path / "strip.png"
    values = torch.randint(256, (20, 60, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    Image.fromarray(values.numpy()).save(path)
    names = ("rgb", "nir", "tir")
    files = tuple(ImageFile(path, (20 * place, 0, 20 * place + 20, 20), (60, 20)) for place in range(3))
    records = [Record(files, 1, modalities=names), Record(files[1:], 2, modalities=names[1:])]
    load = lambda: list(eval_loader(records, EvalTransform(PREPROCESS), 2, modalities=names))  # noqa: E731
    plain = load()
    kept = keep(records)
    assert kept.bytes == 3 * kept.shelf.row_bytes
    decoded.clear()
    with reading(kept=kept):
        assert same(load(), plain)
        assert same(load(), plain)
    assert len(decoded) == 3


def test_a_replaced_image_is_read_again(records, decoded):
    with reading(kept=keep(records)):
        epoch(records)
        decoded.clear()
        path = records[2].path
        before = path.stat()
        Image.new("RGB", (20, 40), "red").save(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps times would have it
        changed = epoch(records)
        assert set(decoded) == {path.name}
    assert same(changed, epoch(records))


def test_a_missing_image_is_named_though_its_pixels_are_kept(records):
    with reading(kept=keep(records)):
        epoch(records)
        records[4].path.unlink()
        with pytest.raises(DataError, match=r'4\.png" does not exist'):
            epoch(records)


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut short":
        content = content[: len(content) // 2 + 7]
    elif how == "one bit":
        content[len(content) // 2] ^= 4
    elif how == "zeros":
        content[:] = bytes(len(content))
    else:
        content[:] = os.urandom(len(content))
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut short", "one bit", "zeros", "noise"])
def test_damage_costs_time_and_nothing_else(records, decoded, how):
    plain = epoch(records)
    kept = keep(records)
    with reading(kept=kept):
        epoch(records)
    damage(kept.path, how)
    decoded.clear()
    with reading(kept=keep(records)):
        assert same(epoch(records), plain)
        assert 0 < len(decoded) <= 6
        decoded.clear()
        assert same(epoch(records), plain)
    assert not decoded  # mended


def test_a_deleted_file_is_no_matter(records):
    plain, kept = epoch(records), keep(records)
    kept.path.unlink()
    said = []
    with reading(kept=kept, say=said.append):
        assert same(epoch(records), plain)
    assert len(said) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_is_told_once_and_the_run_goes_on(records, monkeypatch, workers):
    plain, kept, said = [epoch(records, number) for number in range(2)], keep(records), []
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("needs a device that is always full")
    kept.path.unlink()
    kept.path.symlink_to("/dev/full")
    with reading(kept=kept, say=said.append) as now:
        assert same(epoch(records, 0, workers), plain[0])
        assert now.kept is None
        assert same(epoch(records, 1, workers), plain[1])
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert not kept.path.is_symlink()  # room is made again


def test_rows_are_whole_whenever_the_writer_is_killed(records):
    kept = keep(records)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, kept.shelf.shape, dtype=np.uint8) for _ in range(6)]
    keys = [bytes([number]) * 16 for number in range(6)]
    for milliseconds in (1, 3, 5, 8):
        child = os.fork()
        if child == 0:
            while True:
                for row, (key, pixels) in enumerate(zip(keys, images, strict=True)):
                    kept.shelf.put(row, key, pixels)
        time.sleep(milliseconds / 1000)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = [kept.shelf.take(row, key) for row, key in enumerate(keys)]
        assert all(one is None or np.array_equal(one, image) for one, image in zip(found, images, strict=True))


def test_a_row_that_was_half_written_is_not_used(records):
    kept = keep(records)
    pixels = np.full(kept.shelf.shape, 9, np.uint8)
    key = file_key(records[0].images[0])
    kept.shelf.put(1, key, pixels)
    assert np.array_equal(kept.shelf.take(1, key), pixels)
    with kept.path.open("r+b") as file:
        file.seek(kept.shelf.row_bytes)
        file.write(bytes(100))
    assert kept.shelf.take(1, key) is None
    assert kept.shelf.take(0, key) is None
    assert kept.shelf.take(99, key) is None


def test_the_file_is_that_of_the_images_and_the_size_alone(records, tmp_path, monkeypatch):
    files = [record.images[0] for record in records]
    path = KeptPixels(files, PREPROCESS).path
    other_mean = Preprocess(16, 8, (0, 0, 0), (1, 1, 1))
    monkeypatch.chdir(tmp_path)
    relative = [ImageFile(file.path.relative_to(tmp_path)) for file in files]
    assert KeptPixels([*files[::-1], files[0]], other_mean).path == KeptPixels(relative, PREPROCESS).path == path
    others = [Preprocess(16, 9, *[(0, 0, 0)] * 2), Preprocess(16, 8, *[(0, 0, 0)] * 2, "bilinear")]
    assert len({path, *(KeptPixels(files, one).path for one in others), KeptPixels(files[1:], PREPROCESS).path}) == 4
    monkeypatch.setattr(module, "code_stamp", lambda: b"changed code")
    assert KeptPixels(files, PREPROCESS).path != path


def test_another_size_is_not_taken_from_it(records, decoded):
    larger = Preprocess(32, 8, PREPROCESS.mean, PREPROCESS.std)
    with reading(kept=keep(records)):
        epoch(records)
        decoded.clear()
        (images,) = eval_loader(records, EvalTransform(larger), 6)
    assert images.shape == (6, 3, 32, 8)
    assert len(decoded) == 6


def test_nobody_else_may_read_it(records):
    assert keep(records).path.stat().st_mode & 0o777 == 0o600


def test_files_unused_for_longest_make_room(records, monkeypatch):
    made = []
    for number in range(3):
        made.append(keep(records[number:]))
        for row in range(6 - number):
            made[-1].shelf.put(row, bytes(16), np.zeros(made[-1].shelf.shape, np.uint8))
        os.utime(made[-1].path, (number, number))
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    last = keep(records[4:])
    assert [one.path.exists() for one in made] == [False, True, True]
    assert last.path.exists()
