from __future__ import annotations

from dataclasses import replace

import pytest

from reidtune.data import identities, label_map, split_identities
from reidtune.data.join import open_datasets
from reidtune.data.split import carve
from reidtune.errors import DataError, SettingsError

from .conftest import record


def people(number, images=2, cameras=(1, 2)):
    return [record(i, cameras[k % len(cameras)], f"{i}_{k}") for i in range(1, number + 1) for k in range(images)]


def held_out(records, fraction, seed=0):
    return {r.identity for r in split_identities(records, fraction, seed)[1]}


def test_identities_are_on_one_side_and_nothing_is_lost():
    records = people(20)
    rest, validation = split_identities(records, 0.25, seed=3)
    assert len({r.identity for r in validation}) == 5
    assert not {r.identity for r in rest} & {r.identity for r in validation}
    assert sorted(map(str, rest + validation)) == sorted(map(str, records))
    assert rest == [r for r in records if r in rest]  # the order is kept


def test_the_choice_depends_on_the_seed_and_not_on_the_order():
    records = people(20)
    assert held_out(records, 0.25, seed=0) == held_out(records[::-1], 0.25, seed=0)
    assert held_out(records, 0.25, seed=0) != held_out(records, 0.25, seed=1)
    assert held_out(records, 0.25) < held_out(records, 0.5)


def test_only_identities_that_can_be_scored_are_held_out():
    one_image = [record(i, 1) for i in range(101, 121)]
    one_camera = [record(i, 1) for i in range(201, 221) for _ in range(3)]
    records = [*people(4), *one_image, *one_camera]
    assert held_out(records, 0.9) == {1, 2, 3, 4}
    without_cameras = [record(r.identity) for r in records]
    assert held_out(without_cameras, 0.9) == {1, 2, 3, 4} | set(range(201, 221))


def test_one_camera_everywhere_is_as_good_as_none():
    assert len(held_out(people(10, cameras=(1,)), 0.3)) == 3


def test_at_least_two_identities_on_each_side():
    assert len(held_out(people(10), 0.01)) == 2
    assert len(held_out(people(10), 0.99)) == 8
    with pytest.raises(DataError, match="3 identities"):
        split_identities(people(3), 0.5, 0)


def test_junk_is_never_held_out_and_zero_holds_out_none():
    records = [*people(6), *[record(-1, c) for c in (1, 2)], *[record(0, c) for c in (1, 2)]]
    assert held_out(records, 0.9) <= set(range(1, 7))
    assert split_identities(records, 0, 0) == (records, [])


@pytest.mark.parametrize("fraction", [-0.1, 1, 2.5])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(SettingsError, match=str(fraction)):
        split_identities(people(6), fraction, 0)


def test_labels_are_contiguous_and_leave_out_junk():
    assert label_map([record(i) for i in (40, 7, 7, -1, 0, 12)]) == {7: 0, 12: 1, 40: 2}


def test_one_image_is_enough_where_a_caption_finds_its_own():
    records = [record(i, i % 2) for i in range(1, 11)]
    with pytest.raises(DataError, match="two images each"):
        split_identities(records, 0.5, 0)
    rest, validation = split_identities(records, 0.5, 0, images_needed=1)
    assert (len(rest), len(validation)) == (5, 5)
    two = people(10)
    assert split_identities(two, 0.3, 4, images_needed=1) == split_identities(two, 0.3, 4)
    with pytest.raises(DataError, match="an image each"):
        split_identities(records[:3], 0.5, 0, images_needed=1)


def test_under_cross_scene_two_scenes_are_needed_and_cameras_do_not_matter():
    def shot(identity, camera, scene):
        return replace(record(identity, camera, f"{identity}_{camera}_{scene}"), scene=scene)

    two_scenes = [shot(i, 1, scene) for i in range(1, 6) for scene in (1, 2)]
    one_scene = [shot(i, camera, 1) for i in range(11, 21) for camera in (1, 2)]
    records = [*two_scenes, *one_scene]
    _, validation = split_identities(records, 0.9, 0, protocol="cross-scene")
    assert {r.identity for r in validation} == set(range(1, 6))
    assert held_out(records, 0.9) == set(range(11, 21))
    with pytest.raises(DataError, match="0 can be scored .two images each, from two scenes where scenes are known"):
        split_identities([*one_scene, shot(30, 1, 2)], 0.5, 0, protocol="cross-scene")


def test_scenes_that_are_not_known_do_not_matter():
    records = people(20)
    for protocol in ("cross-camera", "leave-one-out", "all"):
        assert split_identities(records, 0.25, 0, protocol=protocol) == split_identities(records, 0.25, 0)
    assert len(split_identities(people(10, cameras=(1,)), 0.3, 0, protocol="cross-scene")[1]) == 6


def test_every_dataset_is_on_both_sides_of_the_validation(market):
    joined = open_datasets([market("a", people=10), market("b", people=4), market("c", people=20)])
    rest, validation = carve(joined, joined.train, 0.2, seed=3)
    assert not identities(rest) & identities(validation)
    counts = [len({*part.identities} & identities(validation)) for part in joined.parts]
    assert counts == [2, 2, 4]
    assert len(rest) + len(validation) == len(joined.train)


def test_one_that_is_too_small_for_that_is_trained_on_alone(market):
    said = []
    joined = open_datasets([market("a", people=10), market("b", people=3)])
    _, validation = carve(joined, joined.train, 0.2, seed=3, say=said.append)
    assert max(identities(validation)) <= 10
    assert said[0].startswith("Dataset 2 has no part in the validation: No validation split can be carved from 3")
    both = open_datasets([market("c", people=2), market("d", people=3)])
    with pytest.raises(DataError, match="from 2 identities"):
        carve(both, both.train, 0.2, seed=3)
    assert carve(both, both.train, 0, seed=3) == (list(both.train), [])
