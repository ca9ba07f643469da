from collections import namedtuple

import pytest

from reidtune.backbone.preprocess import Preprocess
from reidtune.data import keep as module
from reidtune.data import kept_pixels
from reidtune.data.keep import keep_pixels

pytestmark = pytest.mark.usefixtures("own_cache")

PREPROCESS = Preprocess(16, 8, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def choose(photos):
    records = photos(6)

    def decide(mode="auto", again=True):
        said = []
        kept = keep_pixels(records, PREPROCESS, mode, again, said.append)
        assert len(said) <= 1
        return kept, said[0] if said else ""

    return decide


def test_it_is_told_with_size_and_place(choose, own_cache, monkeypatch):
    monkeypatch.setattr(module, "_WORTH", 0.0)
    kept, sentence = choose()
    assert kept.path.parent == own_cache / "images"
    assert sentence.startswith(f"Images are decoded once: squashed to 16×8 they are kept in {own_cache}")
    assert "up to 1 MB" in sentence
    assert kept.used() > 0  # what was measured stays


def test_none_and_a_single_epoch_keep_nothing(choose, own_cache):
    assert choose("none") == (None, "")
    assert choose(again=False) == (None, "")
    assert not own_cache.exists()
    assert choose("disk", again=False)[0] is not None


def test_too_many_images_are_kept_only_when_asked(choose, monkeypatch):
    monkeypatch.setattr(kept_pixels, "MOST_BYTES", 1000)
    kept, sentence = choose()
    assert kept is None
    assert "image_cache=disk" in sentence
    assert choose("disk")[0] is not None


@pytest.mark.parametrize("mode", ["auto", "disk"])
def test_a_disk_without_room_is_told(choose, own_cache, monkeypatch, mode):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(10**10, 8 * 10**9, module.LEFT_FREE))
    kept, sentence = choose(mode)
    assert kept is None
    assert "has 2.0 GB free" in sentence
    assert not list(own_cache.rglob("*.pixels"))


def test_a_folder_that_cannot_be_made_is_told(choose, own_cache):
    own_cache.write_text("a file")
    kept, sentence = choose()
    assert kept is None
    assert f"cannot be kept in {own_cache}: " in sentence


def test_where_decoding_is_no_slower_nothing_is_kept(choose, monkeypatch):
    monkeypatch.setattr(module, "_WORTH", float("inf"))
    assert choose() == (None, "")
    assert choose("disk")[0] is not None
