"""The page and the sheet of a search."""

import base64
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console

from reidtune.errors import ReidtuneError, SettingsError
from reidtune.report.html import THUMBNAIL, match_page, write_page
from reidtune.report.matches import check_target, heading_of, match_sheet, match_table
from reidtune.report.pictures import QUERY
from reidtune.retrieval.search import Match, SearchResult

EVIL = '<script>alert("x")</script>&\'"\x1b[31m'
MODEL = {"backbone": {"name": "tiny", "pretrained": "embedded"}, "delta": None}


@pytest.fixture
def result(tmp_path):
    def make(text="a red coat", image=None, weight=1.0, count=3, size=(40, 80), names=None):
        matches = []
        for rank in range(1, count + 1):
            path = tmp_path / f"{rank}.png"
            Image.new("RGB", size, (250, 10 * rank, 0)).save(path)
            matches.append(Match(rank, names or f"cam/{rank}.png", path, 1 - rank / 10))
        index = SimpleNamespace(folder=tmp_path, names=["x"] * 1234)
        return SearchResult(text, image, weight, matches, index, MODEL)

    return make


class Reader(HTMLParser):
    """Tags, attributes and text of a page; complains of tags that are not closed."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], "", []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def pictures(page):
    sources = [value for name, value in Reader(page).attributes if name == "src"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    return [Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))) for source in sources]


def test_a_page_has_every_match_in_order(result):
    page = match_page(result())
    words = " ".join(Reader(page).words.split())
    assert "a red coat Best 3 of 1,234 images." in words
    assert [float(score) for score in re.findall(r'class="score">([0-9.]+)<', page)] == [0.9, 0.8, 0.7]
    assert [round(picture.getpixel((5, 5))[1], -1) for picture in pictures(page)] == [10, 20, 30]
    assert "Backbone: tiny embedded" in words


def test_a_page_needs_nothing_else(result):
    page = match_page(result())
    assert "script" not in Reader(page).tags
    assert "http" not in page.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert {tag for tag in Reader(page).tags if tag in {"link", "iframe", "object"}} == set()


def test_what_comes_from_outside_is_escaped(result):
    page = match_page(result(text=EVIL, names=EVIL))
    reader = Reader(page)
    assert "script" not in reader.tags
    assert reader.words.count('<script>alert("x")</script>&\'"\\x1b[31m') == 5  # title, heading, three names
    assert next(value for name, value in reader.attributes if name == "alt").startswith("Match 1: <script>")
    assert "\x1b" not in page


def test_the_query_image_is_on_the_page(result, tmp_path):
    Image.new("RGB", (30, 60), (0, 0, 250)).save(tmp_path / "q.png")
    page = match_page(result(image=tmp_path / "q.png", weight=0.3))
    found = pictures(page)
    assert len(found) == 4
    assert found[0].getpixel((5, 5))[2] > 200
    assert "“a red coat” (weight 0.3) and q.png (weight 0.7)" in Reader(page).words
    alone = Reader(match_page(result(text=None, image=tmp_path / "q.png", weight=0.0))).words
    assert "Images like this one" in alone
    assert "1,234 images for q.png." in alone


def test_large_images_become_thumbnails(result):
    page = match_page(result(size=(3000, 1500), count=1))
    assert pictures(page)[0].size == (THUMBNAIL[0], THUMBNAIL[0] // 2)


def test_an_image_that_has_gone_is_said(result):
    found = result()
    found.matches[1].path.unlink()
    page = match_page(found)
    assert len(pictures(page)) == 2
    assert "cannot be read" in Reader(page).words
    match_sheet(found)


def test_a_page_is_written_whole_or_the_reason_is_said(tmp_path):
    write_page("ü", tmp_path / "new" / "a.html")
    assert (tmp_path / "new" / "a.html").read_text(encoding="utf-8") == "ü"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ReidtuneError, match=r"a\.html could not be written"):
        write_page("", tmp_path / "file" / "a.html")


def test_a_sheet_shows_query_and_matches(result, tmp_path):
    Image.new("RGB", (40, 80), (0, 250, 0)).save(tmp_path / "q.png")
    sheet = match_sheet(result(image=tmp_path / "q.png", weight=0.5, count=7), height=80)
    colours = {colour: count for count, colour in sheet.getcolors(1_000_000)}
    assert colours[QUERY] == 2 * 4 * (20 + 8) + 2 * 4 * 40  # a frame 4 pixels wide around 20×40
    for rank in range(1, 8):
        assert colours[(250, 10 * rank, 0)] == 40 * 80
    plain = match_sheet(result(count=7), height=80)
    assert plain.height < sheet.height
    assert QUERY not in {colour for _, colour in plain.getcolors(1_000_000)}


def test_long_names_and_no_matches_fit_on_a_sheet(result):
    match_sheet(result(names="folder/" * 30 + "end.png", text="word " * 200))
    match_sheet(result(count=0))


def test_a_table_shows_what_a_terminal_would_act_on(result):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(match_table(result(text=EVIL, names="[bold]\x1b[31m/a.png")))
    printed = console.export_text()
    assert "\x1b" not in printed
    assert "[bold]\\x1b[31m/a.png" in printed
    assert [line.split()[:2] for line in printed.splitlines()[2:5]] == [["1", "0.900"], ["2", "0.800"], ["3", "0.700"]]


def test_a_heading_says_what_was_looked_for(result):
    assert heading_of(result()) == "Best 3 of 1,234 images for “a red coat”"


def test_targets(tmp_path):
    for name in ("a.png", "a.html", "a.HTM", "a.jpg"):
        check_target(tmp_path / name, force=False)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SettingsError, match="exists"):
        check_target(tmp_path / "a.png", force=False)
    check_target(tmp_path / "a.png", force=True)
    for wrong, sentence in ((tmp_path, "is a folder"), (tmp_path / "a.xyz", "no kind of picture or page")):
        with pytest.raises(SettingsError, match=sentence):
            check_target(wrong, force=True)
