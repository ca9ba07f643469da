from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from dataclasses import replace

import pytest
import torch

from reidtune.backbone.preprocess import Preprocess
from reidtune.data import EvalTransform, Record, TrainTransform, eval_loader, label_map, read_image, train_loader
from reidtune.data import loader as loader_module
from reidtune.data.batch import make_batch
from reidtune.errors import DataError, ReidtuneError, SettingsError

PREPROCESS = Preprocess(16, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BATCHES = [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]


@pytest.fixture(scope="module")
def train():
    return TrainTransform(PREPROCESS)


@pytest.fixture(scope="module")
def plain():
    return EvalTransform(PREPROCESS)


def load(records, transform, batches=BATCHES, seed=0, epoch=0, **options):
    return list(train_loader(records, label_map(records), batches, transform, seed, epoch, **options))


def same(first, second):
    assert len(first) == len(second)
    return all(torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


class Dies:
    preprocess = PREPROCESS

    def vary(self, pixels, seed, out):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_batch_is_images_labels_indices(photos, plain):
    records = photos(6)
    images, labels, indices = load(records, plain)[1]
    assert (images.shape, images.dtype) == ((4, 3, 16, 8), torch.float32)
    assert labels.tolist() == [2, 2, 0, 0]
    assert indices.tolist() == [4, 5, 0, 1]
    assert labels.dtype == indices.dtype == torch.int64
    assert torch.equal(images[1], plain(read_image(records[5].images[0])))


def test_the_number_of_workers_changes_nothing(photos, train):
    records = photos(6)
    alone = load(records, train)
    assert same(alone, load(records, train, workers=1))
    assert same(alone, load(records, train, workers=2))


def test_augmentation_depends_on_seed_epoch_and_position(photos, train):
    records = photos(6)
    batches = [[0, 0], [0, 0]]
    base = torch.cat([images for images, _, _ in load(records, train, batches)])
    assert len({image.numpy().tobytes() for image in base}) == 4
    for change in ({"seed": 1}, {"epoch": 1}):
        other = torch.cat([images for images, _, _ in load(records, train, batches, **change)])
        assert not any(torch.equal(a, b) for a in base for b in other)


def test_a_start_skips_batches_unread_and_changes_none(photos, train, monkeypatch):
    records = photos(6)
    whole = load(records, train)
    read = []
    monkeypatch.setattr(loader_module, "read_image", lambda file: read.append(file) or read_image(file))
    assert same(whole[2:], load(records, train, start=2))
    assert len(read) == 4
    assert load(records, train, start=3) == []


def test_uneven_batches_keep_their_positions(photos, train):
    records = photos(6)
    batches = [[0], [1, 2, 3], [4, 5]]
    assert same(load(records, train, batches)[2:], load(records, train, batches, start=2))


@pytest.mark.parametrize("workers", [0, 1])
def test_torchs_generator_is_left_alone(photos, train, workers):
    records = photos(6)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load(records, train, workers=workers)
    assert torch.equal(torch.rand(4), expected)


SPECTRA = ("rgb", "nir", "tir")


@pytest.fixture
def triplets(photos):
    """Two samples of three modalities, of which the first two are one file."""
    files = [record.images[0] for record in photos(6)]
    return [Record((files[i], files[i], files[i + 1]), i + 1, modalities=SPECTRA) for i in range(2)]


def without(record, *names):
    kept = [(name, file) for name, file in zip(record.modalities, record.images, strict=True) if name not in names]
    return replace(record, modalities=tuple(name for name, _ in kept), images=tuple(file for _, file in kept))


def test_modalities_are_stacked_and_augmented_separately(triplets, train, plain):
    images, _, _ = load(triplets, train, [[0, 1]], modalities=SPECTRA)[0]
    assert images.shape == (2, 3, 3, 16, 8)
    assert not torch.equal(images[0, 0], images[0, 1])  # one file, two draws
    (evaluated,) = eval_loader(triplets, plain, 8, modalities=SPECTRA)
    assert torch.equal(evaluated[0, 0], evaluated[0, 1])
    assert torch.equal(evaluated[1, 2], plain(read_image(triplets[1].images[2])))


def test_without_modalities_the_first_image_is_read(triplets, train, plain):
    single = [Record(record.images[:1], record.identity) for record in triplets]
    assert same(load(triplets, train, [[0, 1]]), load(single, train, [[0, 1]]))


def test_modalities_come_in_the_order_asked_for(triplets, plain):
    (usual,) = eval_loader(triplets, plain, 8, modalities=SPECTRA)
    (other,) = eval_loader(triplets, plain, 8, modalities=("tir", "rgb"))
    assert torch.equal(other, usual[:, [2, 0]])


def test_a_missing_modality_is_zeros_and_changes_nothing_of_the_others(triplets, train):
    full, _, _ = load(triplets, train, [[0, 1]], modalities=SPECTRA)[0]
    lacking = [without(triplets[0], "rgb"), without(triplets[1], "nir", "tir")]
    images, _, _ = load(lacking, train, [[0, 1]], modalities=SPECTRA)[0]
    assert not images[0, 0].any()
    assert not images[1, 1:].any()
    assert torch.equal(images[0, 1:], full[0, 1:])
    assert torch.equal(images[1, 0], full[1, 0])
    present = make_batch(images, lacking, modalities=SPECTRA).present
    assert present.tolist() == [[False, True, True], [True, False, False]]
    assert make_batch(full, triplets, modalities=SPECTRA).present is None


def test_a_modality_that_is_not_asked_for_is_not_read(triplets, plain, monkeypatch):
    read = []
    monkeypatch.setattr(loader_module, "read_image", lambda file: read.append(file) or read_image(file))
    (images,) = eval_loader(triplets, plain, 8, modalities=("tir",))
    assert images.shape == (2, 1, 3, 16, 8)
    assert read == [record.images[2] for record in triplets]


def test_the_number_of_workers_changes_nothing_of_modalities(triplets, train):
    records, batches = [triplets[0], without(triplets[1], "rgb")], [[0, 1], [1, 0], [0, 0]]
    alone = load(records, train, batches, modalities=SPECTRA)
    assert same(alone, load(records, train, batches, workers=2, modalities=SPECTRA))
    assert same(alone[1:], load(records, train, batches, start=1, modalities=SPECTRA))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_gives_every_image_in_order(photos, plain, workers):
    records = photos(5)
    batches = list(eval_loader(records, plain, 2, workers))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    expected = torch.stack([plain(read_image(record.images[0])) for record in records])
    assert torch.equal(torch.cat(batches), expected)
    assert list(eval_loader([], plain, 2, workers)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_also_from_a_worker(photos, train, tmp_path, workers):
    records = photos(6)
    (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:60])
    batches = train_loader(records, label_map(records), BATCHES, train, 0, 0, workers=workers)
    next(batches)
    with pytest.raises(DataError) as error:
        next(batches)
    assert error.value.exit_code == 4
    assert "4.png" in error.value.message
    assert "Traceback" not in error.value.message
    assert error.value.hint


def test_workers_are_gone_when_the_loader_is_left_early(photos, train):
    records = photos(6)
    before = set(multiprocessing.active_children())
    batches = train_loader(records, label_map(records), BATCHES, train, 0, 0, workers=2)
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == 2
    batches.close()
    assert not set(multiprocessing.active_children()) - before


def test_a_worker_that_is_killed_is_told_in_words(photos):
    with pytest.raises(ReidtuneError, match="ended unexpectedly") as error:
        list(eval_loader(photos(4), Dies(), 2, workers=1))
    assert "workers" in error.value.hint


def test_what_goes_to_a_worker_can_be_pickled(photos, train):
    samples = [([loader_module._View(0, record.images[0], None)], 5) for record in photos(2)]
    job = pickle.loads(pickle.dumps(loader_module._Job(samples, train, 0, False, None)))
    assert job().pixels.shape == (2, 3, 16, 8)


def test_an_identity_without_label_is_refused(photos, plain):
    records = photos(6)
    with pytest.raises(DataError, match=r"1 identities .* such as 3"):
        list(train_loader(records, {1: 0, 2: 1}, BATCHES, plain, 0, 0))


def test_settings_out_of_range_are_refused(photos, plain):
    with pytest.raises(SettingsError, match="batch size is 0"):
        eval_loader(photos(2), plain, 0)
    with pytest.raises(SettingsError, match="workers is -1"):
        list(eval_loader(photos(2), plain, 1, workers=-1))


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_images_are_left_out_of_their_batch(photos, plain, tmp_path, workers):
    records = photos(6)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    for place in (1, 4, 5):
        records[place] = replace(
            records[place], images=(replace(records[place].images[0], path=tmp_path / "broken.jpg"),)
        )
    batches = list(loader_module.readable_loader(records, plain, 2, workers))
    whole = [plain(read_image(records[place].images[0])) for place in (0, 2, 3)]
    assert torch.equal(batches[0][0], torch.stack(whole[:1]))
    assert torch.equal(batches[1][0], torch.stack(whole[1:]))
    assert batches[2][0] is None
    assert [sorted(errors) for _, errors in batches] == [[1], [], [0, 1]]
    assert 'broken.jpg" is not an image' in batches[2][1][1].message
