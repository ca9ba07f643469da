"""The page, the sheet and the table of samples of several modalities."""

import base64
import io
import re
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console

from reidtune.report.html import match_page
from reidtune.report.matches import heading_of, match_sheet, match_table
from reidtune.report.pictures import QUERY
from reidtune.retrieval.search import Match, SearchResult

NAMES = ("rgb", "nir", "tir")
MODEL = {"backbone": {"name": "tiny", "pretrained": "embedded"}, "delta": None}


@pytest.fixture
def paint(tmp_path):
    def write(name, colour, size):
        path = tmp_path / f"{name}.png"
        Image.new("RGB", size, colour).save(path)
        return path

    return write


@pytest.fixture
def result(tmp_path, paint):
    """Three samples, the second without nir, for a query of rgb and tir."""

    def make(size=(40, 80), query=("rgb", "tir"), text=None, modalities=NAMES):
        matches = []
        for rank in range(1, 4):
            paths = {
                name: paint(f"{name}{rank}", (200, 20 * rank, 80 * place), size)
                for place, name in enumerate(modalities)
                if (rank, name) != (2, "nir")
            }
            matches.append(Match(rank, f"cam/{rank}.png", next(iter(paths.values())), 1 - rank / 10, paths))
        images = {name: paint("q", (0, 250, 0), size) for name in query}
        first = next(iter(images.values()), None)
        index = SimpleNamespace(folder=tmp_path, names=["x"] * 1234)
        return SearchResult(text, first, 0.3 if text else 0.0, matches, index, MODEL, modalities, images)

    return make


def pictures(page):
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', page)
    return {alt: Image.open(io.BytesIO(base64.b64decode(data))) for data, alt in found}


def test_a_page_has_every_image_under_its_modality(result):
    page = match_page(result())
    found = pictures(page)
    assert list(found)[:2] == ["Query image, rgb", "Query image, tir"]
    assert len(found) == 2 + 8
    for rank in range(1, 4):
        for place, name in enumerate(NAMES):
            if (rank, name) != (2, "nir"):
                colour = found[f"Match {rank}: cam/{rank}.png, {name}"].getpixel((5, 5))
                assert colour == pytest.approx((200, 20 * rank, 80 * place), abs=6)
    assert page.count('<span class="gone">no nir</span>') == 1
    assert page.count("<figcaption>nir</figcaption>") == 3
    assert "Samples like this one" in page
    assert "Best 3 of 1,234 samples for rgb, tir of q.png." in page


def test_wide_images_lie_below_each_other(result):
    assert 'class="several stacked"' in match_page(result(size=(80, 40)))
    assert 'class="several stacked"' not in match_page(result())
    tall, wide = match_sheet(result(), height=80), match_sheet(result(size=(80, 40)), height=80)
    assert tall.width == 3 * (3 * 42 - 2) + 4 * 12
    assert wide.width == 3 * 80 + 4 * 12


def test_a_sheet_shows_every_image_and_what_is_missing(result):
    colours = {colour: count for count, colour in match_sheet(result(), height=80).getcolors(1_000_000)}
    for rank in range(1, 4):
        for place, name in enumerate(NAMES):
            expected = 0 if (rank, name) == (2, "nir") else 40 * 80
            assert colours.get((200, 20 * rank, 80 * place), 0) == expected
    assert colours[(0, 250, 0)] == 2 * 20 * 40
    assert colours[QUERY] == 2 * 4 * (3 * 20 + 2 * 2 + 8) + 2 * 4 * 40
    texts = match_sheet(result(query=(), text="a red coat"), height=80)
    assert QUERY not in {colour for _, colour in texts.getcolors(1_000_000)}


def test_samples_without_matches_and_many_modalities_fit(result):
    many = tuple(f"m{number}" for number in range(6))
    match_sheet(result(modalities=many, query=many, size=(80, 40)), height=40)
    empty = result()
    empty.matches.clear()
    match_sheet(empty)
    match_page(empty)


def test_a_table_names_the_modalities_that_are_there(result):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(match_table(result()))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert lines[0] == "rank score sample modalities"
    assert lines[2:5] == [
        "1 0.900 cam/1.png rgb, nir, tir",
        "2 0.800 cam/2.png rgb, tir",
        "3 0.700 cam/3.png rgb, nir, tir",
    ]


def test_a_heading_says_which_images_were_given(result, paint):
    both = result(text="a red coat")
    assert heading_of(both).endswith("samples for “a red coat” (weight 0.3) and rgb, tir of q.png (weight 0.7)")
    other = result(query=("rgb", "nir"))
    other.images["nir"] = paint("other", (1, 2, 3), (4, 8))
    assert heading_of(other).endswith("for rgb of q.png, nir of other.png")
