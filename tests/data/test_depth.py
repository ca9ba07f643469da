from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidtune.data import Dataset, ImageFile, Record
from reidtune.data.depth import dark_sentence, highest, look_at_some
from reidtune.data.file_findings import odd_files
from reidtune.data.look import look_at_files


@pytest.fixture
def deep(tmp_path):
    """``deep(4095, 65535)``: records of 16-bit images of values up to these, and one of 8 bits."""

    def make(*tops):
        records = []
        for number, top in enumerate(tops):
            values = np.linspace(0, top, 20 * 40).reshape(40, 20).astype(np.uint16)
            Image.fromarray(values).save(tmp_path / f"{number}.png")
            records.append(Record((ImageFile(tmp_path / f"{number}.png"),), number + 1))
        Image.new("L", (20, 40), 7).save(tmp_path / "grey.png")
        return [*records, Record((ImageFile(tmp_path / "grey.png"),), 99)]

    return make


def test_the_highest_value_is_that_of_16_bits_alone():
    assert highest("I;16", Image.new("RGB", (2, 2), (3, 15, 9))) == 15
    assert highest("I;16B", Image.new("RGB", (2, 2), (3, 15, 9))) == 15
    assert highest("RGB", Image.new("RGB", (2, 2), (3, 15, 9))) is None


def test_most_images_must_be_dark():
    assert "2 of 3 16-bit images looked at use only levels up to 63 of 255" in dark_sentence([15, 63, 200, None])
    assert dark_sentence([15, 200]) == dark_sentence([64, 255]) == dark_sentence([None]) == dark_sentence([]) == ""


@pytest.mark.parametrize(("tops", "count"), [((4095, 4095, 65535), 2), ((16383,), 1), ((4095, 65535), 0), ((), 0)])
def test_data_and_train_say_it(deep, tops, count):
    records = deep(*tops)
    dataset = Dataset(records[0].path.parent, "folder", "image", "all", records, [], [], "")
    found = {finding.kind: finding for finding in odd_files(dataset, look_at_files(records))}
    assert bool(look_at_some(records)) is bool(count)
    assert ("dark-16-bit-images" in found) is bool(count)
    if count:
        finding = found["dark-16-bit-images"]
        assert (finding.level, finding.count, finding.examples[0]) == ("warning", count, "0.png")
        assert finding.sentence.removesuffix(".") == look_at_some(records)
    headers = look_at_files(records, decode=False)
    assert "dark-16-bit-images" not in {finding.kind for finding in odd_files(dataset, headers)}


def test_some_are_from_all_over_and_a_missing_one_is_no_matter(deep, monkeypatch):
    from reidtune.data import depth

    monkeypatch.setattr(depth, "LOOKED_AT", 2)
    records = deep(65535, 4095, 4095, 4095, 4095)[:5]
    assert look_at_some(records) == ""  # the first, which is bright, and the third
    assert look_at_some(records[1:]).startswith("2 of 2")
    assert look_at_some([Record((ImageFile(Path("nowhere.png")),), 1)]) == ""
