from dataclasses import replace
from math import pi

import numpy as np
import pytest
from PIL import Image

from reidtune.demo.figure import PART, SHADE, Place, Pose, draw_figure, view_of
from reidtune.demo.patterns import paint_pattern
from reidtune.demo.people import COLOURS, Item, make_people
from reidtune.demo.shots import SEEN

BASE = make_people(1, seed=0)[0]
BACKPACK = Item("backpack", "red", COLOURS["red"], near=0.5, warmth=0.1)
SHIRT = Item("t-shirt", "white", COLOURS["white"], near=0.5, warmth=0.6)


def parts(person, yaw, phase=0.5):
    image = Image.new("L", (192, 384))
    pose, place = Pose(yaw, phase), Place(96, 12, 350)
    draw_figure(image, person, pose, place)
    values = np.array(image)
    paint_pattern(values, person, pose, place)
    return values & (SHADE - 1)


def share(person, yaw, part):
    return float((parts(person, yaw) == PART[part]).mean())


@pytest.mark.parametrize("girth", [0.8, 1.0, 1.3])
def test_a_backpack_is_seen_from_behind_and_from_the_side_not_from_the_front(girth):
    person = replace(BASE, bag=BACKPACK, girth=girth)
    assert share(person, 0.0, "bag") == 0 if girth >= 1 else share(person, 0.0, "bag") < SEEN  # beside a slim waist
    assert share(person, 0.0, "strap") > 0
    assert share(person, pi, "bag") > 0.02
    assert share(person, pi / 2, "bag") > 0.01


def test_a_logo_is_seen_from_the_front_only():
    person = replace(BASE, bag=None, upper=replace(SHIRT, pattern="logo", second="red"))
    assert share(person, 0.0, "logo") > 0.003
    assert share(person, pi, "logo") == 0
    assert share(person, pi / 2, "logo") == 0


def test_the_inner_shirt_is_seen_in_an_open_jacket_from_the_front_only():
    person = replace(BASE, bag=None, upper=replace(SHIRT, kind="jacket", pattern="plain"))
    assert share(person, 0.0, "inner") > 0.005
    assert share(person, pi, "inner") == 0


def test_a_shoulder_bag_hangs_on_the_side_that_is_turned_to_the_camera():
    bag = replace(BACKPACK, kind="shoulder bag")
    left = replace(BASE, bag=bag, bag_side=1, girth=1.0)
    # who walks to the right of the image (yaw π/2) shows the right side, so a bag on the left is mostly hidden
    assert share(left, -pi / 2, "bag") > 1.5 * share(left, pi / 2, "bag")


def test_the_face_is_not_seen_from_behind():
    person = replace(BASE, hair="short", hat=None, glasses=True)
    assert share(person, 0.0, "glasses") > 0
    assert share(person, pi, "glasses") == 0
    assert share(person, pi, "hair") > share(person, 0.0, "hair")


@pytest.mark.parametrize("pattern", ["stripes", "vertical stripes", "checks", "dots", "two-tone"])
def test_a_pattern_leaves_both_colours_of_the_garment(pattern):
    person = replace(BASE, bag=None, upper=replace(SHIRT, pattern=pattern, second="red"))
    first, second = (share(person, 0.0, part) for part in ("upper", "upper_second"))
    assert 0.1 < second / (first + second) < 0.9


def test_a_person_is_narrower_from_aside():
    person = replace(BASE, bag=None)
    front, aside = ((parts(person, yaw)[150:190] > 0).any(axis=0).sum() for yaw in (0.0, pi / 2))
    assert aside < front


@pytest.mark.parametrize(
    ("yaw", "view"), [(0.1, "front"), (pi / 2, "right"), (pi - 0.3, "back"), (-pi / 2, "left"), (2 * pi, "front")]
)
def test_view_of(yaw, view):
    assert view_of(yaw) == view
