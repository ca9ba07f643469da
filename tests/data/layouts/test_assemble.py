from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reidtune.data import ImageFile, Record
from reidtune.data.layouts import assemble, number_names
from reidtune.data.layouts.assemble import resolve_splits
from reidtune.data.layouts.describe import named, unnamed
from reidtune.errors import DataError, SettingsError

from ..conftest import captioned, names, record


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["b", "a", "c"], {"a": 1, "b": 2, "c": 3}),
        (["0007", "12"], {"0007": 7, "12": 12}),
        (["10", "9", "0"], {"0": 1, "9": 2, "10": 3}),
        (["7", "07"], {"07": 1, "7": 2}),
        (["1", "x"], {"1": 1, "x": 2}),
        (["٣", "1"], {"1": 1, "٣": 2}),
    ],
)
def test_names_become_positive_numbers(names, numbers):
    assert number_names([*names, *names]) == {**numbers, "-1": -1}


def test_a_dataset_needs_a_known_identity(tmp_path):
    with pytest.raises(DataError, match="no image of a known identity"):
        assemble(tmp_path, "x", "X", [record(-1), record(0)], [], [])


def test_cameras_that_are_known_in_part_do_not_make_a_rule():
    query, gallery = [record(1, 1)], [record(1, 2), record(2, None)]
    assert assemble(Path(), "x", "X", [], query, gallery).protocol == "all"
    assert assemble(Path(), "x", "X", [], query, [*gallery[:1], record(2, 1)]).protocol == "cross-camera"


def text(train, query, gallery=None, **options):
    return assemble(Path(), "x", "X", train, query, query if gallery is None else gallery, task="text", **options)


def test_captions_look_for_images_whatever_their_cameras():
    test = [captioned(1, "a", camera=1), captioned(2, "b", camera=2)]
    dataset = text([], test)
    assert dataset.protocol == "cross-modality"
    assert dataset.query is dataset.gallery
    assert text([], test, protocol="cross-modality").protocol == "cross-modality"


@pytest.mark.parametrize("protocol", ["cross-camera", "cross-scene", "all", "leave-one-out"])
def test_rules_between_images_are_refused_for_captions(protocol):
    test = [captioned(1, "a", camera=1), captioned(2, "b", camera=2)]
    with pytest.raises(SettingsError, match=f'"{protocol}" compares images with images') as error:
        text([], test, protocol=protocol)
    assert "cross-modality" in error.value.hint


def test_cross_modality_is_refused_for_images():
    test = [record(1), record(2)]
    with pytest.raises(SettingsError, match=r'"cross-modality" needs captions'):
        assemble(Path(), "x", "X", [], test, test, protocol="cross-modality")


def test_captions_are_counted_for_each_split():
    people = [captioned(i, *"abc"[: i % 2 + 1], name=f"{i}.png") for i in range(1, 8)]
    dataset = text(people[:3], people[5:], validation=people[3:5])
    assert dataset.sentence == (
        "X: 3 train identities (3 images, 5 captions), 2 validation identities (2 images, 3 captions), "
        "2 test identities (2 images, 3 captions); every caption is a query, every image counts (cross-modality)."
    )
    assert text([], people[:2]).sentence.startswith("X: no training split, 2 test identities (2 images, 3 captions);")
    assert text(people[:2], []).sentence == "X: 2 train identities (2 images, 3 captions), no test split."


def test_queries_and_gallery_of_their_own_are_told_apart():
    dataset = text([], [captioned(1, "a", "b")], [record(1), record(2), record(-1)])
    assert "2 captions of 1 identity as queries, 2 gallery images;" in dataset.sentence


def test_junk_leaves_a_test_split_of_captions_even_where_cameras_are_known():
    test = [captioned(1, "a", camera=1), captioned(2, "b", camera=2), captioned(-1, "c", camera=1)]
    dataset = text([], test)
    assert [r.identity for r in dataset.gallery] == [1, 2]
    assert dataset.query is dataset.gallery


def test_images_without_a_caption_are_told():
    one, bare = captioned(1, "a"), record(2)
    sentence = text([one, bare, bare], [captioned(3, "b"), record(4)]).sentence
    assert "Images without a caption, not learned from and no queries: 2 in training, 1 in test." in sentence


def test_identities_on_two_sides_are_told():
    a, b, c = captioned(1, "a"), captioned(2, "b"), captioned(3, "c")
    sentence = text([a, b], [b, c], validation=[a, c]).sentence
    for where in (
        "in training and in the queries",
        "in training and in validation",
        "in validation and in the queries",
    ):
        assert f"Careful: 1 identity is {where}." in sentence
    assert "Careful" not in text([a], [b], validation=[c]).sentence


def sample(identity, *modalities, camera=None, scene=None):
    images = tuple(ImageFile(Path(f"{identity}_{camera}_{name}.png")) for name in modalities)
    return Record(images, identity, camera, scene, modalities)


SPECTRA = ("rgb", "nir", "tir")


def multimodal(train, query, gallery=None, **options):
    gallery = query if gallery is None else gallery
    return assemble(Path(), "x", "X", train, query, gallery, task="multimodal", modalities=SPECTRA, **options)


def test_samples_are_counted_and_modalities_named():
    test = [sample(2, *SPECTRA, camera=1), sample(3, "nir", camera=2), sample(-1, *SPECTRA, camera=1)]
    dataset = multimodal([sample(1, "rgb", "tir", camera=1), sample(0, *SPECTRA)], test)
    assert (dataset.task, dataset.modalities, dataset.protocol) == ("multimodal", SPECTRA, "cross-camera")
    assert dataset.sentence == (
        "X: 1 train identity (1 sample), 2 queries, 2 gallery samples, 2 cameras, modalities rgb, nir and tir; "
        "same-identity same-camera pairs are ignored (cross-camera). "
        "1 sample of identity −1 or 0 left out of training. 1 sample of identity −1 or 0 left out of the queries. "
        "Junk (identity −1) in the gallery, never ranked and not counted above: 1. "
        "Samples that lack a modality: 2 (rgb 1, nir 1, tir 1)."
    )


def test_a_sample_that_is_query_and_gallery_lacks_its_modality_once():
    test = [sample(1, "rgb", camera=1), sample(1, *SPECTRA, camera=2), sample(2, *SPECTRA, camera=1)]
    assert "Samples that lack a modality: 1 (nir 1, tir 1)." in multimodal([], test).sentence


def test_scenes_are_counted_where_they_are_the_rule():
    test = [sample(1, *SPECTRA, camera=1, scene=i) for i in (4, 5)] + [sample(2, *SPECTRA, camera=2, scene=4)]
    assert "2 cameras, modalities" in multimodal([], test).sentence
    assert "2 cameras, 2 scenes, modalities" in multimodal([], test, protocol="cross-scene").sentence


def test_cross_modality_is_refused_for_samples():
    with pytest.raises(SettingsError, match="cross-modality"):
        multimodal([], [sample(1, *SPECTRA), sample(2, *SPECTRA)], protocol="cross-modality")


def test_a_random_gallery_is_drawn_from_one_list_of_all_test_images():
    query, gallery = [record(1, 1, "a"), record(2, 1, "b")], [record(1, 2, "c"), record(-1, 2, "d"), record(2, 3, "e")]
    dataset = assemble(Path(), "x", "X", [], query, gallery, protocol="random-gallery")
    assert names(dataset.query) == ["a", "b", "c", "e"]
    assert dataset.gallery is dataset.query
    assert dataset.sentence == (
        "X: no training split, 4 test images of 2 identities, 3 cameras; one random test image of each identity is the "
        "gallery, the others are queries, ten times (random-gallery). Query and gallery are joined to one list, "
        "without junk."
    )


@pytest.mark.parametrize("camera", [1, None])
def test_distractors_stay_in_a_random_gallery_and_no_image_counts_twice(camera):
    both = [record(1, camera, "a"), record(1, camera, "b")]
    gallery = [*both, record(0, camera, "d"), record(2, camera, "e")]
    dataset = assemble(Path(), "x", "X", [], both, gallery, protocol="random-gallery")
    assert (names(dataset.query), names(dataset.gallery)) == (["a", "b", "e"], ["a", "b", "d", "e"])
    assert "3 test images of 2 identities" in dataset.sentence
    assert "Distractors (identity 0) in the gallery: 1." in dataset.sentence


def test_captions_have_no_random_gallery():
    with pytest.raises(SettingsError, match='"random-gallery" compares images with images'):
        text([], [captioned(1, "a"), captioned(2, "b")], protocol="random-gallery")


def test_training_alone_may_be_validated_with_a_random_gallery():
    dataset = assemble(Path(), "x", "X", [record(1), record(2)], [], [], protocol="random-gallery")
    assert (dataset.protocol, "joined" in dataset.sentence) == ("random-gallery", False)


def test_halves_are_cut_by_the_rule_of_the_protocol():
    """Under cross-scene, identities of one scene cannot be scored and stay in training."""
    people = [record(i, name=f"{i}{k}", camera=k) for i in range(1, 9) for k in (1, 2)]
    people = [replace(one, scene=one.camera if one.identity < 5 else 1) for one in people]
    _, test, _, _ = resolve_splits({"": people}, Path(), protocol="cross-scene")
    assert {one.identity for one in test} == {1, 2, 3, 4}
    _, test, _, _ = resolve_splits({"": people}, Path())
    assert {one.identity for one in test} - {1, 2, 3, 4}


def test_examples_are_named_and_counted():
    assert named("Odd", []) == []
    assert named("Odd", ["a", "b\n"]) == ["Odd: 2 (a, b\\n)."]
    assert unnamed(list("abcd")) == ["Left out, since the name tells no identity and camera: 4 (a, b, c, …)."]
