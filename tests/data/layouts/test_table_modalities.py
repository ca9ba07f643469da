from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError, SettingsError

WIDE = """path_RGB,path_nir,path_Depth,identity,camera,split
rgb/1.jpg,ni/1.jpg,d/1.png,ann,1,train
rgb/2.jpg,,d/2.png,bob,2,train
rgb/3.jpg,ni/3.jpg,,cat,1,test
,ni/4.jpg,d/4.png,cat,2,test
rgb/5.jpg,ni/5.jpg,d/5.png,dan,2,test
"""


def shown(records):
    return [
        {m: f"{i.path.parent.name}/{i.path.name}" for m, i in zip(r.modalities, r.images, strict=True)} for r in records
    ]


def test_one_column_a_modality(table, tmp_path):
    dataset = open_dataset(table(WIDE))
    assert (dataset.task, dataset.protocol, dataset.root) == ("multimodal", "cross-camera", tmp_path)
    assert dataset.modalities == ("rgb", "nir", "depth")
    assert shown(dataset.train) == [
        {"rgb": "rgb/1.jpg", "nir": "ni/1.jpg", "depth": "d/1.png"},
        {"rgb": "rgb/2.jpg", "depth": "d/2.png"},
    ]
    assert shown(dataset.query) == [
        {"rgb": "rgb/3.jpg", "nir": "ni/3.jpg"},
        {"nir": "ni/4.jpg", "depth": "d/4.png"},
        {"rgb": "rgb/5.jpg", "nir": "ni/5.jpg", "depth": "d/5.png"},
    ]
    assert dataset.sentence == (
        'Table "table.csv": 2 train identities (2 samples), 3 test samples of 2 identities, 2 cameras, '
        "modalities rgb, nir and depth; same-identity same-camera pairs are ignored (cross-camera). "
        "Samples that lack a modality: 3 (rgb 1, nir 1, depth 1)."
    )


def long_rows(dataset, sample=False):
    for split, records in (("train", dataset.train), ("test", dataset.query)):
        for number, r in enumerate(records):
            for modality, file in shown([r])[0].items():
                row = {"path": file, "identity": dataset.identity_names[r.identity], "camera": r.camera, "split": split}
                yield row | {"modality": modality.upper()} | ({"sample": f"s{number}"} if sample else {})


def test_a_column_modality_says_the_same(table):
    dataset = open_dataset(table(WIDE))
    rows = list(long_rows(dataset))
    joined = open_dataset(table(rows, "rows.jsonl"))
    assert joined.manifest() == dataset.manifest()
    told = "Images of the same identity, camera, scene and file name are one sample; there is no column sample."
    assert told in joined.sentence
    mixed = open_dataset(table(rows[::-1], "rows.jsonl"))  # the rows of a sample need not stand together
    assert {str(files) for files in shown(mixed.train)} == {str(files) for files in shown(dataset.train)}


def test_a_column_sample_joins_whatever_the_names(table):
    dataset = open_dataset(table(WIDE))
    rows = [row | {"path": f"{number}.jpg"} for number, row in enumerate(long_rows(dataset, sample=True))]
    joined = open_dataset(table(rows, "rows.jsonl"))
    assert [r.modalities for r in joined.query] == [r.modalities for r in dataset.query]
    assert "sample;" not in joined.sentence


HEAD = "path,modality,identity,camera,split\n"


def test_names_may_end_in_their_modality(table):
    text = HEAD + "".join(f"all/{i}_{m}.jpg,{m},{i},1,test\n" for m in ("nir", "vis") for i in (1, 2))
    dataset = open_dataset(table(text))
    assert dataset.modalities == ("rgb", "nir")
    assert shown(dataset.query) == [{"rgb": f"all/{i}_vis.jpg", "nir": f"all/{i}_nir.jpg"} for i in (1, 2)]


def test_equal_names_of_other_people_or_cameras_are_other_samples(table):
    text = HEAD + "rgb/1.jpg,rgb,a,1,test\nni/1.jpg,nir,b,1,test\nrgb/2.jpg,rgb,a,1,test\nni/2.jpg,nir,a,2,test\n"
    dataset = open_dataset(table(text))
    assert [len(r.images) for r in dataset.query] == [1, 1, 1, 1]
    assert "Careful: no two images belong to one sample by their names; a column sample can say" in dataset.sentence


def test_the_same_sample_can_be_query_and_gallery(table):
    rows = "".join(f"{m}/{i}.jpg,{m},{i},1,{s}\n" for s in ("query", "gallery") for i in (1, 2) for m in ("rgb", "ir"))
    dataset = open_dataset(table(HEAD + rows))
    assert (len(dataset.query), len(dataset.gallery), dataset.protocol) == (2, 2, "all")
    assert "queries that are in the gallery too, and find themselves: 2." in dataset.sentence


def test_one_modality_is_images(table):
    dataset = open_dataset(table("path_nir,identity\n1.jpg,a\n2.jpg,a\n3.jpg,b\n"))
    assert (dataset.task, dataset.modalities) == ("image", ())
    assert dataset.query[0].modalities == ("nir",)
    assert "test images" in dataset.sentence
    same = open_dataset(table(HEAD + "1.jpg,NI,a,1,test\n2.jpg,near-infrared,b,2,test\n"))
    assert (same.task, same.query[0].modalities) == ("image", ("nir",))


def test_a_modality_without_any_image_does_not_count(table):
    dataset = open_dataset(table("path_rgb,path_nir,path_tir,identity\n1.jpg,,1.png,a\n2.jpg,,2.png,b\n"))
    assert dataset.modalities == ("rgb", "tir")
    assert "lack" not in dataset.sentence


def test_four_modalities_of_any_name(table):
    dataset = open_dataset(table("path_event,path_depth,path_tir,path_rgb,identity\na,b,c,d,1\ne,f,g,h,2\n"))
    assert dataset.modalities == ("rgb", "tir", "event", "depth")
    assert [image.path.name for image in dataset.query[0].images] == ["d", "c", "a", "b"]


def test_captions_of_several_modalities_are_not_used_and_that_is_told(table):
    text = "path_rgb,path_tir,identity,caption\n1.jpg,1.png,a,red\n1.jpg,1.png,a,tall\n2.jpg,2.png,b,blue\n"
    dataset = open_dataset(table(text))
    assert (dataset.task, len(dataset.query)) == ("multimodal", 2)
    assert dataset.query[0].captions == ("red", "tall")
    assert "Captions are not used: the images are of several modalities." in dataset.sentence
    with pytest.raises(SettingsError, match="cross-modality"):
        open_dataset(table(text), protocol="cross-modality")


def test_columns_that_say_nothing_here_are_told(table):
    text = "path_rgb,path_tir,identity,modality,box\n1.jpg,1.png,a,rgb,3\n2.jpg,2.png,b,rgb,4\n"
    assert "Columns that are not read: modality, box." in open_dataset(table(text)).sentence
    text = "path,path_original,identity\n1.jpg,x.jpg,a\n2.jpg,y.jpg,b\n"
    dataset = open_dataset(table(text))
    assert dataset.task == "image"
    assert "Columns that are not read: path_original." in dataset.sentence


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEAD + "1.jpg,rgb,a,1,test\n1.png,,a,1,test\n", "line 3: modality is empty, but line 2 has one"),
        (HEAD + "1.jpg,rgb,a,1,test\nx/1.jpg,rgb,a,1,test\n1.png,ir,a,1,test\n", "line 3: a second rgb image of the "
         'sample that begins in line 2; a column "sample" can tell'),
        (HEAD + "1.jpg,rgb,a,1,test\n1.jpg,nir,a,1,test\n", r'line 3: "1\.jpg" is already in line 2'),
        ("path_rgb,path_tir,identity\n1.jpg,1.png,a\n,,b\n", "line 3: path_rgb and path_tir are empty"),
        ("path_rgb,path_tir,identity\n1.jpg,1.png,a\n2.jpg,2.png,\n", "line 3: identity is empty"),
        ("path_rgb,path_tir,identity\n1.jpg,1.png,a\n2.jpg,1.png,a\n", r'line 3: "1\.png" is already in line 2'),
        ("path_rgb,path_tir,identity\n1.jpg,1.png,a\n2.jpg,1.png,b\n", r'line 3: identity of "1\.png" is "b", but "a"'),
        ("path_ir,path_rgb,path_TIR,identity\n1,2,3,a\n", "two columns of the modality tir: path_ir and path_tir"),
        ("path,path_nir,identity\n1.jpg,1.png,a\n", "the column path beside path_nir"),
        ("path_,identity\n1.jpg,a\n", "has no column path; its columns are: path_, identity"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(table, text, reason):
    with pytest.raises(DataError, match=reason) as error:
        open_dataset(table(text))
    assert error.value.hint


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"identity": "b"}, 'line 2: identity of the sample "x" is "b", but "a" in line 1'),
        ({"camera": 2}, 'line 2: camera of the sample "x" is "2", but "1" in line 1'),
        ({"sample": ""}, "line 2: sample is empty, but line 1 has one"),
        ({"modality": "visible"}, "line 2: a second rgb image of the sample that begins in line 1"),
        ({"path": ["1.png"]}, "line 2: path is"),
        ({"sample": {}}, "line 2: sample is"),
    ],
)
def test_a_sample_that_contradicts_itself_is_named(table, row, reason):
    first = {"path": "1.jpg", "modality": "rgb", "identity": "a", "camera": 1, "sample": "x", "split": "test"}
    rows = [first, first | {"path": "1.png", "modality": "tir"} | row, first | {"path": "3.png", "modality": "nir"}]
    with pytest.raises(DataError, match=reason):
        open_dataset(table(rows, "rows.jsonl"))
