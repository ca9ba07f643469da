"""The index of a folder: what is embedded again, and what is kept through accidents."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.image import read_image
from reidtune.data.record import ImageFile
from reidtune.data.transforms import EvalTransform
from reidtune.errors import DataError, SettingsError
from reidtune.retrieval import index as module
from reidtune.retrieval import index_file
from reidtune.retrieval.index import Embedding, index_paths, refresh_index

PREPROCESS = Preprocess(height=8, width=4, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
MATRIX = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))


class Counter:
    """Features that are a fixed linear map of the pixels; ``seen`` counts images."""

    def __init__(self, key="one", stop_after=None):
        self.seen, self.stop_after = 0, stop_after
        self.embedding = Embedding(self, PREPROCESS, 6, key)

    def __call__(self, images):
        if self.stop_after is not None and self.seen >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += len(images)
        return images.flatten(1) @ MATRIX


@pytest.fixture
def refresh(photos):
    """Refresh; returns the index, the number of images that were embedded, and what was said."""

    def call(counter=None, folder=photos, **options):
        counter, said = counter or Counter(), []
        found = refresh_index(folder, counter.embedding, batch_size=2, say=said.append, **options)
        assert found.embedded == counter.seen
        return found, counter.seen, said

    return call


def direct(folder, names):
    transform = EvalTransform(PREPROCESS)
    images = torch.stack([transform(read_image(ImageFile(folder / name))) for name in names])
    return torch.nn.functional.normalize(images.flatten(1) @ MATRIX, dim=1)


def exact(found, folder):
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    assert found.names == names
    assert torch.allclose(found.features, direct(folder, names), atol=1e-6)


def test_everything_is_embedded_once(refresh, photos):
    found, embedded, said = refresh()
    assert (embedded, said) == (7, ["Index of 7 images: 7 new."])
    exact(found, photos)
    assert found.path == index_paths(photos, "one")[0]
    before = found.path.read_bytes()
    again, embedded, said = refresh()
    assert (embedded, said) == (0, ["Index of 7 images: up to date."])
    assert torch.equal(again.features, found.features)
    assert found.path.read_bytes() == before
    assert list(found.path.parent.iterdir()) == [found.path]  # no temporary file is left


def test_new_changed_deleted_and_renamed_files(refresh, photos, paint):
    refresh()
    paint(photos / "h.png", 20)
    paint(photos / "a.png", 21, size=(21, 40))
    (photos / "b.png").unlink()
    (photos / "f.png").rename(photos / "deep" / "f.png")
    found, embedded, said = refresh()
    assert (found.new, found.changed, found.deleted, embedded) == (2, 1, 2, 3)
    assert said == ["Index of 7 images: 2 new, 1 changed, 2 deleted."]
    exact(found, photos)
    assert refresh()[1] == 0


def test_the_same_size_at_another_time_is_a_change(refresh, photos):
    refresh()
    status = (photos / "a.png").stat()
    picture = Image.open(photos / "a.png").transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    picture.save(photos / "a.png", "PNG")
    os.truncate(photos / "a.png", max(status.st_size, (photos / "a.png").stat().st_size))
    os.utime(photos / "a.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    found, embedded, _ = refresh()
    assert (found.changed, embedded) == (1, 1)
    exact(found, photos)


def test_permissions_alone_are_no_change(refresh, photos):
    refresh()
    (photos / "a.png").chmod(0o600)
    found, embedded, _ = refresh()
    assert (found.changed, embedded) == (0, 0)


def test_broken_images_are_left_out_named_and_remembered(refresh, photos, paint, monkeypatch):
    (photos / "b.png").write_bytes(b"")
    (photos / "bad.png").write_bytes(b"no image")
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    found, embedded, said = refresh()
    assert embedded == 6
    assert found.unreadable == ["b.png", "bad.png", "gone.png"]
    assert found.names == sorted({"a.png", "deep/c.png", "deep/d.png", "e é 人.png", "f.png", "g.png"})
    assert torch.allclose(found.features, direct(photos, found.names), atol=1e-6)
    assert said[0] == "3 files cannot be read as images and are left out: b.png, bad.png, gone.png."
    read = []
    monkeypatch.setattr(module, "read_image", lambda file: read.append(file.path.name) or read_image(file))
    again, embedded, said = refresh()
    assert (embedded, read, len(again.unreadable)) == (0, [], 3)
    assert said[0].startswith("3 files")
    paint(photos / "bad.png", 9)
    (photos / "b.png").chmod(0o600)  # what was not permitted may be so now
    again, embedded, _ = refresh()
    assert (embedded, sorted(read), again.unreadable) == (1, ["b.png", "bad.png"], ["b.png", "gone.png"])


def test_nothing_that_can_be_read(refresh, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        refresh(folder=tmp_path / "empty")
    (tmp_path / "empty" / "x.jpg").write_bytes(b"x")
    for _ in range(2):  # also from the index
        with pytest.raises(DataError, match="None of the 1 image in"):
            refresh(folder=tmp_path / "empty")
    assert list((tmp_path / "empty").rglob("*.safetensors"))


def test_another_model_has_another_index(refresh, photos):
    first = refresh()[0]
    other, embedded, _ = refresh(Counter("two"))
    assert embedded == 7
    assert other.path != first.path
    assert refresh()[1] == 0


def test_a_moved_folder_keeps_its_index(refresh, photos):
    refresh()
    moved = photos.parent / "moved"
    photos.rename(moved)
    found, embedded, _ = refresh(folder=moved)
    assert embedded == 0
    assert found.folder == moved


def test_a_rebuild_embeds_everything(refresh):
    refresh()
    assert refresh(rebuild=True)[1] == 7


@pytest.mark.parametrize("damage", ["cut", "text", "bit", "shape", "nan", "key", "format"])
def test_a_damaged_index_is_built_anew(refresh, photos, damage, monkeypatch):
    path = refresh()[0].path
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-5])
    elif damage == "text":
        path.write_text("an index?")
    elif damage == "bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "key":
        data = index_file.read_index(path, "one", 6)
        index_file.write_index(path, data, "two")
    elif damage == "format":
        tensors = load_file(path)
        save_file(tensors, path, {"reidtune-index": "99", "key": "one"})
    else:
        data = index_file.read_index(path, "one", 6)
        features = data.features[:, :5].copy() if damage == "shape" else np.full_like(data.features, np.nan)
        index_file.write_index(path, index_file.IndexData(data.names, data.stamps, data.readable, features), "one")
    found, embedded, said = refresh()
    assert embedded == 7
    assert "the images are embedded anew" in said[0]
    exact(found, photos)
    assert refresh()[1:] == (0, ["Index of 7 images: up to date."])


def test_a_folder_that_cannot_be_written_is_indexed_in_the_cache(refresh, photos, monkeypatch):
    monkeypatch.setattr(module, "_writable", lambda folder: False)
    found, embedded, said = refresh()
    assert found.path == index_paths(photos, "one")[1]
    assert not (photos / ".reidtune").exists()
    assert "cannot be written, so its index is kept in" in said[0]
    assert refresh()[1:] == (0, ["Index of 7 images: up to date."])


def test_a_disk_that_refuses_is_not_the_end(refresh, photos, monkeypatch):
    write = index_file.write_index

    def refuse(path, data, key):
        if path.is_relative_to(photos):
            raise OSError(28, "No space left on device")
        write(path, data, key)

    monkeypatch.setattr(module, "write_index", refuse)
    found, _, said = refresh()
    assert found.path == index_paths(photos, "one")[1]
    assert refresh()[1] == 0
    monkeypatch.setattr(module, "write_index", lambda *arguments: refuse(photos / "x", None, None))
    found, embedded, said = refresh(Counter("three"))
    assert (found.path, embedded) == (None, 7)
    assert "it is not kept" in said[0]


def test_the_newer_of_two_indexes_is_used(refresh, photos, monkeypatch, paint):
    inside, cached = index_paths(photos, "one")
    refresh()
    paint(photos / "h.png", 30)
    monkeypatch.setattr(module, "_writable", lambda folder: False)
    assert refresh()[1] == 1
    assert cached.stat().st_mtime_ns >= inside.stat().st_mtime_ns
    assert refresh()[1] == 0


def test_an_interrupted_indexing_goes_on(refresh, photos):
    counter, said = Counter(stop_after=4), []
    with pytest.raises(KeyboardInterrupt):
        refresh_index(photos, counter.embedding, batch_size=2, say=said.append)
    assert said == ["Stopped with 4 images embedded; they are kept, and the next search goes on there."]
    found, embedded, _ = refresh()
    assert embedded == 3
    exact(found, photos)


def test_a_long_indexing_is_written_now_and_then(refresh, photos, monkeypatch):
    monkeypatch.setattr(module, "SAVE_SECONDS", -1.0)
    sizes = []
    write = index_file.write_index
    monkeypatch.setattr(module, "write_index", lambda p, data, k: (sizes.append(len(data.names)), write(p, data, k)))
    found, _, _ = refresh()
    assert sizes == [2, 4, 6, 7, 7]
    exact(found, photos)


def test_progress_and_threads(photos):
    counter, seen = Counter(), []
    refresh_index(photos, counter.embedding, batch_size=3, threads=3, progress=lambda *count: seen.append(count))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    for wrong in ({"batch_size": 0}, {"threads": 0}):
        with pytest.raises(SettingsError, match="at least 1"):
            refresh_index(photos, counter.embedding, **wrong)


def test_names_that_are_no_text(refresh, photos, paint):
    name = os.fsencode(photos) + b"/\xff\xfe.png"
    try:
        shutil.copy(os.fsencode(photos / "a.png"), name)
    except OSError:
        pytest.skip("this file system takes no such name")
    found, embedded, _ = refresh()
    assert embedded == 8
    assert os.fsencode(found.names[-1]) == b"\xff\xfe.png"
    assert refresh()[1] == 0
