from __future__ import annotations

import pytest

from reidtune.data.modality import describe, in_order, modality_name, without_word


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("RGB", "rgb"),
        ("vis", "rgb"),
        ("NI", "nir"),
        ("Near-Infrared", "nir"),
        ("near infrared", "nir"),
        ("TI", "tir"),
        ("th", "tir"),
        (" Thermal ", "tir"),
        ("Depth", "depth"),
        ("event camera", "event camera"),
    ],
)
def test_names_that_datasets_use(folder, name):
    assert modality_name(folder) == name


def test_order():
    assert in_order(["depth", "tir", "rgb", "event", "tir", "nir"]) == ("rgb", "nir", "tir", "depth", "event")


@pytest.mark.parametrize(
    ("stem", "modality", "bare"),
    [
        ("7_nir", "nir", "7"),
        ("7-NI", "nir", "7"),
        ("7_near-infrared", "nir", "7"),
        ("7_depth", "depth", "7"),
        ("7_rgb", "nir", "7_rgb"),
        ("nir", "nir", "nir"),
        ("_nir", "nir", "_nir"),
        ("7nir", "nir", "7nir"),
        ("souvenir", "nir", "souvenir"),
        ("7_nir_2", "nir", "7_nir_2"),
    ],
)
def test_a_modalitys_word_at_the_end_of_a_name(stem, modality, bare):
    assert without_word(stem, modality) == bare


def test_texts():
    assert describe("tir", "vehicle") == "a thermal-infrared photo of a vehicle"
    assert describe("rgb", "elephant") == "a visible photo of an elephant"
    assert describe("event_camera", "lion") == "an event camera photo of a lion"
