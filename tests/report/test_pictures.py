import pytest
from PIL import Image

from reidtune.data.record import ImageFile, Record
from reidtune.errors import ReidtuneError
from reidtune.report.pictures import QUERY, RIGHT, WRONG, RankedRow, ranked_sheet, save_picture


@pytest.fixture
def record(tmp_path):
    def make(identity, name, size=(32, 64)):
        path = tmp_path / f"{name}.png"
        Image.new("RGB", size, (250, 250, 0)).save(path)
        return Record((ImageFile(path),), identity)

    return make


def test_frames_say_query_right_and_wrong_and_every_row_is_drawn(record):
    rows = [RankedRow(record(1, "q"), [record(1, "a"), record(2, "b")], "AP 50.0")] * 2
    sheet = ranked_sheet(rows, height=64)
    colours = {colour: count for count, colour in sheet.getcolors(1_000_000)}
    frame = 2 * ((32 + 8) * 4 + 64 * 4)  # of one 32×64 image, 4 pixels wide
    assert colours[QUERY] == colours[RIGHT] == colours[WRONG] == 2 * frame
    assert colours[(250, 250, 0)] == 6 * 32 * 64


def test_images_of_other_shapes_are_fitted(record):
    sheet = ranked_sheet([RankedRow(record(1, "q", (64, 32)), [record(1, "a", (10, 90))], "")], height=40)
    assert sheet.width > 2 * 80


def test_a_picture_is_written_or_the_reason_said(record, tmp_path):
    sheet = ranked_sheet([RankedRow(record(1, "q"), [record(1, "a")], "")])
    save_picture(sheet, tmp_path / "new" / "sheet.png")
    assert Image.open(tmp_path / "new" / "sheet.png").size == sheet.size
    with pytest.raises(ReidtuneError, match=r"sheet\.xyz could not be written"):
        save_picture(sheet, tmp_path / "sheet.xyz")
