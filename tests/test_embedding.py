"""Embedding to a file from Python: stopping, a full disk, worker processes."""

import errno
import signal

import numpy as np
import pytest

from reidtune.embedding import embed_to_file
from reidtune.errors import ReidtuneError
from reidtune.retrieval import features_file
from reidtune.training.stop import Interrupted


@pytest.fixture
def embed(small_backbone, small_world, tmp_path):
    def call(source=small_world / "query", output=tmp_path / "out" / "features.npy", **options):
        return embed_to_file(
            source, output, backbone=f"local-dir:{small_backbone.architecture.folder}", batch_size=4, **options
        )

    return call


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_nothing_and_an_earlier_output_as_it_is(embed, tmp_path, number):
    seen = []

    def stop(*count):
        seen.append(count)
        if len(seen) == 2:
            signal.raise_signal(number)

    with pytest.raises(Interrupted, match="Stopped at 8 of 17; nothing was written") as stopped:
        embed(progress=stop)
    assert stopped.value.exit_code == 128 + number
    assert seen == [(4, 17), (8, 17)]
    assert list((tmp_path / "out").iterdir()) == []
    embed()
    before = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    seen.clear()
    with pytest.raises(Interrupted):
        embed(progress=stop, force=True)
    assert {file: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert len(before) == 2


def test_a_stop_while_lines_are_embedded(embed, tmp_path):
    text = tmp_path / "captions.txt"
    text.write_text("\n".join(f"line {number}" for number in range(12)))
    with pytest.raises(Interrupted, match="Stopped at 4 of 12"):
        embed(None, text=text, progress=lambda *count: signal.raise_signal(signal.SIGINT))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_nothing(embed, tmp_path, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(features_file.os, "fsync", full)
    with pytest.raises(ReidtuneError, match="features.npy could not be written: No space left on device"):
        embed()
    assert list((tmp_path / "out").iterdir()) == []


def test_workers_change_nothing(embed, tmp_path):
    embed()
    one = np.load(tmp_path / "out" / "features.npy")
    embed(workers=1, force=True, skip_broken=True)
    assert np.array_equal(np.load(tmp_path / "out" / "features.npy"), one)
