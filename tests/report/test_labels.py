"""Names of points: beside them, inside of the frame, on nothing else."""

import pytest

from reidtune.report.labels import overlap, place_labels, quietest

FRAME = (50.0, 30.0, 480.0, 300.0)


def boxes(placed, sizes):
    return [
        (one.x - width / 2, one.y - height / 2, one.x + width / 2, one.y + height / 2)
        for one, (width, height) in zip(placed, sizes, strict=True)
    ]


def check(points, sizes, obstacles=()):
    placed = place_labels(points, sizes, FRAME, obstacles)
    found = boxes(placed, sizes)
    spots = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    for number, box in enumerate(found):
        assert box[0] >= FRAME[0] - 1e-9 and box[1] >= FRAME[1] - 1e-9
        assert box[2] <= FRAME[2] + 1e-9 and box[3] <= FRAME[3] + 1e-9
        assert all(overlap(box, other) == 0 for other in [*found[:number], *found[number + 1 :], *spots])
    return placed, found


def test_a_lone_name_stands_to_the_right_of_its_point():
    [placed], [box] = check([(200.0, 100.0)], [(60.0, 14.0)])
    assert placed.y == 100 and 205 < box[0] < 215
    assert placed.tip is None


def test_at_the_right_edge_it_moves_inside():
    _, [box] = check([(475.0, 100.0)], [(60.0, 14.0)])
    assert box[2] <= 480


def test_it_keeps_off_obstacles():
    wall = (206.0, 60.0, 300.0, 140.0)
    _, [box] = check([(200.0, 100.0)], [(60.0, 14.0)], [wall])
    assert overlap(box, wall) == 0


@pytest.mark.parametrize("count", [5, 12])
def test_names_of_a_crowd_cover_nothing_and_have_lines(count):
    points = [(200.0 + 6 * (place % 4), 150.0 + 9 * (place // 4)) for place in range(count)]
    sizes = [(50.0 + 5 * (place % 3), 14.0) for place in range(count)]
    placed, found = check(points, sizes)
    assert any(one.tip is not None for one in placed)
    for one, box in zip(placed, found, strict=True):
        if one.tip is not None:  # the line ends at the name's edge, not in it
            assert one.tip[0] in (box[0], box[2]) or one.tip[1] in (box[1], box[3])


def test_more_than_fit_are_all_placed():
    points = [(200.0, 150.0)] * 60
    assert len(place_labels(points, [(80.0, 14.0)] * 60, FRAME)) == 60


def test_no_points_no_names():
    assert place_labels([], [], FRAME) == []


def test_the_quietest_of_some_boxes():
    free, half, full = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0), (40.0, 0.0, 50.0, 10.0)
    taken = [(25.0, 0.0, 30.0, 10.0), (40.0, 0.0, 50.0, 10.0)]
    assert quietest([full, half, free], taken) == free
    assert quietest([full, half], taken) == half
    assert quietest([full, half], []) == full  # the first of those alike
