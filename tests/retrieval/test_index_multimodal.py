"""The index of samples: which ones are embedded again, and what is known of their files."""

import pytest
import torch

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.image import read_image
from reidtune.data.record import ImageFile
from reidtune.data.transforms import EvalTransform
from reidtune.errors import DataError
from reidtune.retrieval.index import Embedding, refresh_index
from reidtune.retrieval.index_file import IndexFileError, read_index

PREPROCESS = Preprocess(height=8, width=4, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
MATRIX = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
NAMES = ("rgb", "nir", "tir")


class Counter:
    """Joined features that are a fixed linear map of the pixels; ``seen`` counts samples."""

    def __init__(self, key="one", modality=None):
        self.seen = 0
        self.embedding = Embedding(self, PREPROCESS, 18, key, NAMES, modality)

    def __call__(self, images, present):
        self.seen += len(images)
        assert not images[~present].any()
        return ((images.flatten(2) @ MATRIX) * present[..., None]).flatten(1)


@pytest.fixture
def triplets(tmp_path, paint):
    folder = tmp_path / "triplets"
    for number in range(5):
        for place, name in enumerate(("RGB", "NI", "TI")):
            paint(folder / name / f"{number}.png", 10 * number + place)
    (folder / "NI" / "1.png").unlink()
    return folder


@pytest.fixture
def refresh(triplets):
    def call(folder=triplets, **options):
        counter, said = Counter(**options), []
        found = refresh_index(folder, counter.embedding, batch_size=2, say=said.append)
        assert found.embedded == counter.seen
        return found, counter.seen, said

    return call


def exact(found):
    """Features and files are those of reading every file anew."""
    transform = EvalTransform(PREPROCESS)
    for row, feature in enumerate(found.features):
        parts = []
        for name in NAMES:
            path = found.paths(row).get(name)
            image = None if path is None else transform(read_image(ImageFile(path)))
            parts.append(torch.zeros(6) if image is None else image.flatten() @ MATRIX)
        assert torch.allclose(feature, torch.nn.functional.normalize(torch.cat(parts), dim=0), atol=1e-6)


def test_samples_are_embedded_once(refresh, triplets):
    found, embedded, said = refresh()
    assert (embedded, said) == (5, ["Index of 5 samples: 5 new."])
    assert (found.names, found.modalities) == ([f"{number}.png" for number in range(5)], NAMES)
    assert found.paths(0) == {"rgb": triplets / "RGB/0.png", "nir": triplets / "NI/0.png", "tir": triplets / "TI/0.png"}
    assert list(found.paths(1)) == ["rgb", "tir"]
    exact(found)
    again, embedded, said = refresh()
    assert (embedded, said) == (0, ["Index of 5 samples: up to date."])
    assert torch.equal(again.features, found.features)
    assert again.files == found.files


def test_a_new_changed_or_deleted_file_embeds_its_sample_again(refresh, triplets, paint):
    refresh()
    paint(triplets / "NI" / "1.png", 90)  # new
    paint(triplets / "TI" / "2.png", 91, size=(21, 40))  # changed
    (triplets / "RGB" / "3.png").unlink()  # deleted
    found, embedded, said = refresh()
    assert (embedded, said) == (3, ["Index of 5 samples: 3 changed."])
    assert list(found.paths(3)) == ["nir", "tir"]
    exact(found)
    for name in ("RGB", "NI", "TI"):
        (triplets / name / "0.png").unlink()
    paint(triplets / "TI" / "9.png", 92)
    found, embedded, said = refresh()
    assert (embedded, said) == (1, ["Index of 5 samples: 1 new, 1 deleted."])
    exact(found)


def test_a_file_that_cannot_be_read_is_missing_in_its_sample(refresh, triplets, paint):
    (triplets / "NI" / "0.png").write_bytes(b"no image")
    for name in ("RGB", "TI"):
        (triplets / name / "1.png").write_bytes(b"")
    found, embedded, said = refresh()
    assert (embedded, found.names) == (4, ["0.png", "2.png", "3.png", "4.png"])
    assert found.unreadable == ["NI/0.png", "RGB/1.png", "TI/1.png"]
    assert said[0].startswith("3 files cannot be read as images and are left out: NI/0.png")
    assert list(found.paths(0)) == ["rgb", "tir"]
    exact(found)
    again, embedded, _ = refresh()
    assert (embedded, again.unreadable, again.files) == (0, found.unreadable, found.files)
    paint(triplets / "NI" / "0.png", 93)
    found, embedded, _ = refresh()
    assert (embedded, list(found.paths(0))) == (1, list(NAMES))
    exact(found)


def test_nothing_that_can_be_read(refresh, tmp_path):
    for name in ("RGB", "TI"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "1.png").write_bytes(b"x")
    with pytest.raises(DataError, match="None of the 2 images in"):
        refresh(folder=tmp_path / "bad")


def test_a_plain_folder_of_another_modality_is_embedded_anew(refresh, triplets):
    plain = triplets / "NI"
    found, embedded, said = refresh(folder=plain)
    assert (embedded, list(found.paths(0))) == (4, ["nir"])
    assert said[0].startswith("Every image counts as nir")
    exact(found)
    plain = plain.rename(triplets / "plain")
    found, embedded, said = refresh(folder=plain)
    assert (embedded, list(found.paths(0)), said[1]) == (4, ["rgb"], "Index of 4 samples: 4 changed.")
    exact(found)


def test_an_index_of_another_number_of_files_is_damaged(refresh):
    path = refresh()[0].path
    assert read_index(path, "one", 18, 3).stamps.shape == (5, 3, 3)
    with pytest.raises(IndexFileError, match="is damaged"):
        read_index(path, "one", 18)
