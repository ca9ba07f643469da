from dataclasses import replace

import numpy as np
import pytest

from reidtune.demo.cameras import camera, scene
from reidtune.demo.figure import PART
from reidtune.demo.people import COLOURS, Item, make_people
from reidtune.demo.shots import make_track, take
from reidtune.demo.spectra import SPECTRA, layer, palette

PEOPLE = make_people(12, seed=0)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [
        {name: np.asarray(picture, np.float32) for name, picture in shot.pictures.items()}
        for person in PEOPLE
        for shot in [take(make_track(person, camera(1 + person.number % 4), rng), 0, rng, spectra=SPECTRA)]
    ]


def test_near_infrared_and_thermal_have_no_colour(pictures):
    for shot in pictures:
        assert shot["RGB"].shape == shot["NI"].shape == shot["TI"].shape
        for name in ("NI", "TI"):
            assert np.ptp(shot[name], axis=2).max() == 0
        assert np.ptp(shot["RGB"], axis=2).mean() > 5


def test_near_infrared_is_not_the_luminance(pictures):
    correlations = [
        np.corrcoef(shot["RGB"].mean(axis=2).ravel(), shot["NI"][..., 0].ravel())[0, 1] for shot in pictures
    ]
    assert np.mean(correlations) < 0.7


def test_thermal_is_blurred_and_flat(pictures):
    def detail(image):
        return np.abs(np.diff(image[..., 0], axis=1)).mean()

    assert np.mean([detail(shot["TI"]) for shot in pictures]) < 0.6 * np.mean([detail(shot["NI"]) for shot in pictures])


def test_skin_is_warm_and_a_coat_is_colder_outside():
    person = next(p for p in PEOPLE if p.upper.kind == "coat")
    bag = Item("backpack", "red", COLOURS["red"], near=0.5, warmth=0.14)
    table = palette(replace(person, bag=bag), None, "TI")[:, 0]
    assert table[PART["skin"]] > table[PART["hair"]] > table[PART["upper"]] > table[PART["bag"]]


def test_a_print_vanishes_in_thermal_but_not_in_near_infrared():
    person = next(p for p in PEOPLE if p.upper.pattern != "plain")
    upper, second = PART["upper"], PART["upper_second"]
    thermal, near = (palette(person, None, spectrum)[:, 0] for spectrum in ("TI", "NI"))
    assert abs(thermal[upper] - thermal[second]) < 5
    assert near[second] == pytest.approx(person.upper.second_near * 235)


def test_layer_averages_premultiplied():
    table = np.zeros((256, 4), np.float32)
    table[1] = (200, 100, 50, 255)
    parts = np.zeros((3, 6), np.uint8)
    parts[:, 3:] = 1
    parts[0, :3] = 1
    pixels = layer(parts, table, 3)
    assert pixels.shape == (1, 2, 4)
    np.testing.assert_allclose(pixels[0, 0], np.array([200, 100, 50, 255]) / 3, atol=1)
    np.testing.assert_allclose(pixels[0, 1], [200, 100, 50, 255])


def test_cameras_differ_and_each_stays_what_it_is():
    assert camera(3) == camera(3)
    assert camera(3) != camera(103)
    assert np.abs(scene(1)[0] - scene(2)[0]).mean() > 10
