from __future__ import annotations

import pytest
from PIL import Image

from reidtune.data import check_files, open_dataset, read_image
from reidtune.errors import DataError

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
FILES = (
    "bounding_box_train/0561_c0001_006.jpg",
    "bounding_box_train/0562_c0008_001.jpg",
    "query/0001_c0001_000.jpg",
    "bounding_box_test/0001_c0001_000.jpg",
    "bounding_box_test/0001_c0002_000.jpg",
    "bounding_box_test/0002_c0002_000.jpg",
)


@pytest.fixture
def strips(tmp_path):
    """``strips(files, images)`` writes strips of so many images of one colour each and returns their folder."""

    def write(files=FILES, images=3, folder="RGBNT100/rgbir", size=(256, 128)):
        for name in files:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            strip = Image.new("RGB", (images * size[0], size[1]))
            for place in range(images):
                strip.paste(COLOURS[place % 3], (place * size[0], 0, (place + 1) * size[0], size[1]))
            strip.save(path, quality=90)
        return tmp_path / folder

    return write


def colour(image):
    assert image.size == (256, 128)
    return tuple(max(range(3), key=image.getpixel(place).__getitem__) for place in ((2, 2), (253, 125)))


def test_rgbnt100_is_three_images_a_file(strips):
    root = strips()
    dataset = open_dataset(root.parent)
    assert (dataset.layout, dataset.task, dataset.protocol) == ("rgbnt100", "multimodal", "cross-camera")
    assert dataset.modalities == ("rgb", "nir", "tir")
    assert [(r.identity, r.camera) for r in dataset.train] == [(561, 1), (562, 8)]
    assert (len(dataset.query), len(dataset.gallery)) == (1, 3)
    images = dataset.train[0].images
    assert {image.path for image in images} == {root / FILES[0]}
    assert [colour(read_image(image)) for image in images] == [(0, 0), (1, 1), (2, 2)]
    check_files([*dataset.train, *dataset.query, *dataset.gallery])
    assert dataset.sentence == (
        "RGBNT100 strips: 2 train identities (2 samples), 1 query, 3 gallery samples, 3 cameras, "
        "modalities rgb, nir and tir; same-identity same-camera pairs are ignored (cross-camera)."
    )


def test_rgbn300_has_two(strips):
    dataset = open_dataset(strips(images=2, folder="RGBN300/rgbir"))
    assert dataset.modalities == ("rgb", "nir")
    assert [colour(read_image(image)) for image in dataset.query[0].images] == [(0, 0), (1, 1)]
    assert dataset.sentence.startswith("RGBN300 strips: ")


def test_every_way_to_name_the_folder_gives_the_same(strips, tmp_path):
    root = strips()
    hashes = {open_dataset(path).manifest()["hash"] for path in (tmp_path, root.parent, root)}
    hashes.add(open_dataset(root, layout="rgbn300").manifest()["hash"])
    assert len(hashes) == 1
    assert open_dataset(root.rename(tmp_path / "other")).manifest()["hash"] in hashes


def test_images_of_one_modality_with_such_names_are_market_1501s(put):
    assert open_dataset(put(*FILES)).layout == "market1501"


@pytest.mark.parametrize(("images", "size"), [(4, (256, 128)), (3, (128, 64)), (1, (256, 128))])
def test_a_dataset_of_other_strips_is_refused_with_file_and_size(strips, images, size):
    root = strips(images=images, size=size)
    with pytest.raises(DataError, match=rf"0561_c0001_006\.jpg\" has .* × {size[1]} pixels; .* 768 × 128 \(RGBNT100\)"):
        open_dataset(root.parent)


def test_one_strip_of_another_size_is_refused_when_files_are_checked_and_when_it_is_read(strips):
    root = strips()
    strips(files=FILES[1:2], images=4)  # the crops lie within it, and would show something else
    strips(files=FILES[2:3], images=2)
    dataset = open_dataset(root)
    with pytest.raises(DataError, match="2 image files of 6 cannot be read") as error:
        check_files([*dataset.train, *dataset.query, *dataset.gallery])
    assert 'bounding_box_train/0562_c0008_001.jpg" has 1,024 × 128 pixels instead of 768 × 128' in error.value.message
    assert 'query/0001_c0001_000.jpg" has 512 × 128 pixels' in error.value.message
    with pytest.raises(DataError, match=r"0562_c0008_001\.jpg\" has 1,024 × 128 pixels"):
        read_image(dataset.train[1].images[0])


def test_names_that_tell_nothing_are_left_out_and_told(strips):
    root = strips()
    strips(files=["query/front.jpg"])
    assert "tells no identity and camera: 1 (front.jpg)." in open_dataset(root).sentence
    with pytest.raises(
        DataError, match=r"as 0561_c0001_006\.jpg does, in bounding_box_train, query, bounding_box_test"
    ):
        open_dataset(strips(files=["query/front.jpg", "bounding_box_test/side.jpg"], folder="x/rgbir"))


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "rgbir" / "bounding_box_train").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images whose names tell"):
        open_dataset(tmp_path)


def test_a_query_without_gallery_is_refused(strips):
    with pytest.raises(DataError, match="query split but no gallery"):
        open_dataset(strips(files=FILES[:3]))
