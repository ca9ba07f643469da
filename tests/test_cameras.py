"""Which cameras a delta is bound to, and what is refused of data from others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reidtune.cameras import Cameras, cameras_of, choose_use, complete_cameras, listed, use_sentence
from reidtune.config import validate_settings
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DeltaError, SettingsError
from reidtune.methods.registry import find_method, method_names

SETTINGS = {"camera_embedding": "camera", "cameras": [1, 2, 4]}


def records(*cameras, scene=None):
    return [Record((ImageFile(Path(f"{n}.jpg")),), 1, camera, scene) for n, camera in enumerate(cameras)]


def settings(**values):
    return validate_settings(find_method("lora").Settings, values)


def test_cameras_are_filled_in_from_the_training_data():
    done = complete_cameras(settings(camera_embedding="camera"), "image", records(4, 1, 2, 1), records(2, 4))
    assert done.cameras == (1, 2, 4)
    scenes = [replace(record, scene=place) for record, place in zip(records(1, 1), (8, 3), strict=True)]
    assert complete_cameras(settings(camera_embedding="scene"), "multimodal", scenes, []).cameras == (3, 8)
    off = settings()
    assert complete_cameras(off, "text", records(None), []) is off


@pytest.mark.parametrize(
    ("train", "validation", "task", "words"),
    [
        ((None, None), (), "image", "no image of the training data has a known camera"),
        ((1, None, 2), (), "image", r"not every image \(1.jpg\) of the training data has a known camera"),
        ((3, 3), (), "image", r"all training images are of one camera \(3\)"),
        ((1, 2), (1, 5), "image", "validation images are of camera 5, which no training image is"),
        ((1, 2), (None,), "image", "validation images are of camera unknown"),
        ((1, 2), (), "text", "this is text data: captions have no camera"),
    ],
)
def test_data_that_cannot_teach_them_is_refused(train, validation, task, words):
    with pytest.raises(SettingsError, match=words):
        complete_cameras(settings(camera_embedding="camera"), task, records(*train), records(*validation))


def test_joined_data_is_refused():
    with pytest.raises(SettingsError, match="their cameras are numbered anew"):
        complete_cameras(settings(camera_embedding="camera"), "image", records(1, 2), [], joined=True)


def test_cameras_that_are_not_the_datas_are_refused():
    given = settings(camera_embedding="camera", cameras=[1, 3])
    with pytest.raises(SettingsError, match=r"settings\.cameras is 1, 3, but the training data has 1, 2"):
        complete_cameras(given, "image", records(1, 2), [])


def test_the_dataset_of_the_training_needs_no_word():
    assert choose_use(SETTINGS, records(1, 4, 2), True, None) == "known"
    assert choose_use({}, records(None, 7), False, None) is None


@pytest.mark.parametrize(
    ("cameras", "same", "asked", "words"),
    [
        ((1, 2), False, None, "this is other data: equal numbers need not be the same camera"),
        ((1, 2, 9, 7), True, None, r"each camera of its training data \(1, 2, 4\), but this data also has 7, 9"),
        ((1, 9), False, "known", "but this data also has 9"),
        ((1, None), True, None, "the camera of these images is not known"),
        ((None, None), False, "known", "the camera of these images is not known"),
        ((1, 2), True, "meen", 'Unknown choice of cameras "meen". Did you mean "mean"'),
    ],
)
def test_other_cameras_are_refused(cameras, same, asked, words):
    with pytest.raises(SettingsError, match=words) as caught:
        choose_use(SETTINGS, records(*cameras), same, asked)
    assert caught.value.exit_code == 2
    assert "mean" in caught.value.hint


@pytest.mark.parametrize("asked", ["known", "mean", "none"])
def test_the_user_decides(asked):
    assert choose_use(SETTINGS, records(1, 2), False, asked) == asked
    if asked != "known":
        assert choose_use(SETTINGS, records(None, 99), False, asked) == asked
    with pytest.raises(SettingsError, match=f"--cameras {asked} is for deltas with embeddings of cameras"):
        choose_use({"rank": 8}, records(1, 2), True, asked)


def test_a_choice_other_than_the_trainings_is_told():
    assert use_sentence("known", SETTINGS) == use_sentence(None, {}) == ""
    assert use_sentence("mean", SETTINGS).endswith("here every image gets the mean of its 3 embeddings instead.")
    assert use_sentence("none", SETTINGS).endswith("here every image gets nothing instead.")


def test_what_a_delta_says():
    assert cameras_of({}) is None
    assert cameras_of(SETTINGS) == Cameras("camera", (1, 2, 4))
    for wrong in ({"cameras": 3}, {"cameras": ["x"]}, {"camera_embedding": "view"}, {"camera_embedding": 1}):
        with pytest.raises(DeltaError, match="its cameras are"):
            cameras_of({**SETTINGS, **wrong})
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"


@pytest.mark.parametrize("name", method_names())
def test_settings_without_cameras_are_as_if_there_were_none(name):
    dumped = find_method(name).Settings().model_dump(mode="json")
    assert not any(key.startswith("camera") for key in dumped)
    given = validate_settings(find_method(name).Settings, {"camera_embedding": "camera", "cameras": [1, 2]})
    expected = {"camera_embedding": "camera", "camera_scale": 3.0, "camera_rows": "all", "cameras": [1, 2]}
    assert given.model_dump(mode="json") == {**expected, **dumped}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"camera_scale": 1.0}, "camera_scale is set, but camera_embedding is none"),
        ({"cameras": [1]}, "cameras is set, but camera_embedding is none"),
        ({"camera_embedding": "view"}, "settings.camera_embedding: must be 'none', 'camera' or 'scene'"),
        ({"camera_embedding": "camera", "cameras": [1, 1]}, "cameras names one twice"),
        ({"camera_embedding": "camera", "camera_scale": 0}, "settings.camera_scale: must be greater than 0"),
    ],
)
def test_settings_that_do_not_fit(values, words):
    with pytest.raises(SettingsError, match=words):
        settings(**values)
