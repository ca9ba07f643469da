"""Where the points of the four plots stand, and the picture and page that show them."""

import math
import re

import pytest

from reidtune.report.comparison_cells import COSTS
from reidtune.report.comparison_files import CSV_FILE, JSON_FILE, PAGE_FILE, PICTURE_FILE, write_comparison
from reidtune.report.comparison_page import comparison_page
from reidtune.report.comparison_picture import comparison_picture, measure_label
from reidtune.report.comparison_plot import COLOURS, FRAME, panels_of
from reidtune.report.labels import overlap
from tests.report.compared import EVIL, compared
from tests.report.test_html import Reader

MANY = {f"method-{place}": (0.35 + 0.013 * (place % 7), 0.36 + 0.011 * (place % 5)) for place in range(16)}


def panels(content):
    return panels_of(content, measure_label)


def test_a_point_stands_where_its_numbers_are():
    content = compared()
    for panel, cost in zip(panels(content), COSTS, strict=True):
        assert panel.cost == cost
        rows = {row["name"]: row for row in content["rows"]}
        assert [mark.name for mark in panel.marks] == ["adapter", "lora", "vpt"]
        one, two, three = panel.marks
        # mAP is linear, upwards; the cost by its logarithm, to the right
        values = [rows[mark.name]["mAP"]["mean"] for mark in panel.marks]
        assert (one.y - two.y) / (two.y - three.y) == pytest.approx((values[0] - values[1]) / (values[1] - values[2]))
        assert one.y < two.y < three.y < panel.baseline
        costs = [math.log(rows[mark.name][cost]) for mark in panel.marks]
        assert (one.x - two.x) / (two.x - three.x) == pytest.approx((costs[0] - costs[1]) / (costs[1] - costs[2]))
        assert (one.x > two.x) == (costs[0] > costs[1])
        assert [mark.front for mark in panel.marks] == [cost in rows[mark.name]["front"] for mark in panel.marks]


def test_bars_are_as_long_as_the_deviation():
    [panel, *_] = panels(compared({"a": (0.40, 0.44), "b": (0.5, 0.5)}))
    b, a = panel.marks
    assert b.bar[0] - b.bar[1] == pytest.approx(0)
    scale = (a.y - b.y) / 8  # pixels for a point of mAP
    assert (a.bar[0] - a.bar[1]) / scale == pytest.approx(2 * 100 * 0.0008**0.5)
    [panel, *_] = panels(compared({"a": (0.4,)}, seeds=(1,)))
    assert panel.marks[0].bar is None


def test_ticks_stand_at_their_values():
    for panel in panels(compared()):
        (low, first), (high, second) = panel.y_ticks[0], panel.y_ticks[-1]
        scale = (low - high) / (float(second) - float(first))
        assert low - panel.baseline == pytest.approx(scale * (30 - float(first)))
        assert all(FRAME[0] <= x <= FRAME[2] for x, _ in panel.x_ticks)
    ticks = [[words for _, words in panel.x_ticks] for panel in panels(compared())]
    assert all(re.fullmatch(r"[\d.]+ k", words) for words in ticks[0])
    assert all(re.fullmatch(r"[\d.]+ kB", words) for words in ticks[1])
    assert all(re.fullmatch(r"[\d.]+ [kM]B", words) for words in ticks[2])
    assert all(re.fullmatch(r"[\d.,]+", words) for words in ticks[3])


def test_stairs_lead_along_the_front():
    first, *_, last = panels(compared())
    points = {mark.name: (mark.x, mark.y) for mark in first.marks}
    lora, adapter = points["lora"], points["adapter"]
    assert first.stairs == [lora, (adapter[0], lora[1]), adapter, (FRAME[2], adapter[1])]
    points = {mark.name: (mark.x, mark.y) for mark in last.marks}
    lora, adapter = points["lora"], points["adapter"]  # more images a second are better: from the right
    assert last.stairs == [lora, (adapter[0], lora[1]), adapter, (FRAME[0], adapter[1])]


def test_names_of_many_rows_cover_no_other():
    for panel in panels(compared(MANY)):
        assert len(panel.marks) == 16
        boxes = [
            (
                mark.place.x - measure_label(mark.label) / 2,
                mark.place.y - 6,
                mark.place.x + measure_label(mark.label) / 2,
                mark.place.y + 6,
            )
            for mark in panel.marks
        ]
        assert sum(overlap(one, other) for place, one in enumerate(boxes) for other in boxes[:place]) == 0
        assert all(FRAME[0] <= box[0] and box[2] <= FRAME[2] for box in boxes)


def test_rows_without_a_result_or_a_cost_have_no_point():
    content = compared(failed=("vpt",))
    content["rows"][0]["images_per_second"] = None
    assert [[mark.name for mark in panel.marks] for panel in panels(content)] == [["adapter", "lora"]] * 3 + [["lora"]]
    assert all(not panel.marks and panel.y_ticks for panel in panels(compared(waiting=("lora", "adapter", "vpt"))))


def test_long_names_are_cut():
    [panel, *_] = panels(compared({"lora:rank=32,optimiser.lr=1e-3,settings.alpha=32": (0.4, 0.4)}))
    assert panel.marks[0].label.endswith("…")
    assert panel.marks[0].told.startswith(
        "lora:rank=32,optimiser.lr=1e-3,settings.alpha=32: mAP 40.0 ± 0.0, trainable 16,384"
    )


def test_the_picture_shows_every_row_in_its_colour():
    content = compared()
    picture = comparison_picture(content)
    assert picture.width == 2000
    colours = {colour for _, colour in picture.getcolors(1 << 24)}
    wanted = [tuple(int(COLOURS[place][at : at + 2], 16) for at in (1, 3, 5)) for place in range(3)]
    assert all(colour in colours for colour in wanted)
    missing = comparison_picture(compared(failed=("vpt",)))
    assert wanted[2] not in {colour for _, colour in missing.getcolors(1 << 24)}
    comparison_picture(compared(waiting=("lora", "adapter", "vpt")))  # with nothing to show yet


def test_the_page_holds_every_row_and_needs_nothing_else():
    content = compared(names=("world", "other"), failed=("vpt",))
    page = comparison_page(content)
    read = Reader(page)
    words = " ".join(read.words.split())
    for part in (
        "49.0 ± 1.4",
        "32,768*",
        "vpt (failed)",
        "On other",
        "The loss became nan.",
        "Every run (6)",
        "adapter-seed2",
    ):
        assert part in words
    assert read.tags.count("svg") == 4 + 3  # and a swatch for each row
    assert "script" not in read.tags and "http" not in page.replace("http-equiv", "")
    titles = re.findall(r"<g class=\"mark\"[^>]*><title>([^<]*)</title>", page)
    assert titles[:2] == ["adapter: mAP 49.0 ± 1.4, trainable 32,768", "lora: mAP 42.0 ± 2.8, trainable 16,384"]
    assert len(titles) == 8


def test_names_from_outside_are_escaped():
    page = comparison_page(compared({EVIL: (0.4, 0.5)}, names=(EVIL,)))
    assert "script" not in Reader(page).tags
    assert "\x1b" not in page
    comparison_picture(compared({EVIL: (0.4, 0.5)}, names=(EVIL,)))


def test_all_files_are_written_whole(tmp_path):
    write_comparison(compared(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {JSON_FILE, CSV_FILE, PICTURE_FILE, PAGE_FILE}
    assert (tmp_path / CSV_FILE).read_text().splitlines()[1].startswith("zero-shot,zero-shot,,0.3,")
