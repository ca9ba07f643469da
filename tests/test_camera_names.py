"""A delta knows its cameras by the names that its table gave them, whatever numbers another table gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reidtune import load
from reidtune.camera_names import by_name, names_for
from reidtune.cameras import Cameras, cameras_of
from reidtune.cli.app import run as command
from reidtune.data import open_dataset
from reidtune.delta import read_header
from reidtune.embedding import embed_to_file
from reidtune.errors import DeltaError, SettingsError
from reidtune.evaluation import plan_evaluation
from reidtune.training.open import open_run
from tests.training.reporter import Silent

SETTINGS = {"camera_embedding": "camera", "cameras": [0, 1, 2]}
DATA = {"camera_names": ["east", "north", "south"]}


@pytest.fixture
def table(tmp_path):
    """``table("south", "north")``: two people before each camera, all of them test images."""

    def write(*names, name="t.csv", column="camera"):
        rows = [f"{p}{n}{k}.jpg,{p},{name},test" for n, name in enumerate(names) for p in "ab" for k in range(2)]
        (tmp_path / name).write_text("\n".join([f"path,identity,{column},split", *rows]) + "\n", "utf-8")
        return tmp_path / name

    return write


def test_a_table_of_named_cameras_keeps_their_names(table):
    dataset = open_dataset(table("south", "north"))
    assert (dataset.camera_names, dataset.scene_names) == ({0: "north", 1: "south"}, {})
    assert open_dataset(table("south", "north", column="scene")).scene_names == {0: "north", 1: "south"}
    assert open_dataset(table("2", "07")).camera_names == {}
    assert open_dataset(table("1", "01")).camera_names == {0: "01", 1: "1"}


def test_names_are_in_the_hash_where_there_are_any(table):
    dataset, other = open_dataset(table("south", "north")), open_dataset(table("summit", "north"))
    assert dataset.manifest()["hash"] != other.manifest()["hash"]
    nameless = [replace(one, camera_names={}).manifest()["hash"] for one in (dataset, other)]
    assert nameless[0] == nameless[1] != dataset.manifest()["hash"]


def test_cameras_are_found_by_their_names(table):
    dataset = open_dataset(table("south", "north"))
    found = by_name(dataset, SETTINGS, DATA, "known")
    moved = {0: 1, 1: 2}
    assert [record.camera for record in found.query] == [moved[record.camera] for record in dataset.query]
    assert found.query is found.gallery
    assert found.camera_names == {1: "north", 2: "south"}
    assert by_name(dataset, SETTINGS, DATA, "mean") is dataset
    assert by_name(dataset, {}, {}, "known") is dataset
    own = open_dataset(table("east", "north", "south"))
    assert by_name(own, SETTINGS, DATA, None) is own


def test_names_that_do_not_meet_are_refused(table):
    dataset = open_dataset(table("south", "summit"))
    with pytest.raises(SettingsError, match=r"\(0 = east, 1 = north, 2 = south\), but this data also has summit"):
        by_name(dataset, SETTINGS, DATA, "known")
    assert by_name(dataset, SETTINGS, DATA, "known", ("train",)).camera_names == {2: "south", 4: "summit"}
    with pytest.raises(SettingsError, match=r"\(0, 1, 2\), but this data has names \(south, summit\)"):
        by_name(dataset, SETTINGS, {}, "known")
    with pytest.raises(SettingsError, match="but this data has numbers alone"):
        by_name(open_dataset(table("1", "2")), SETTINGS, DATA, "known")


def test_what_a_delta_says_of_names(table):
    dataset = open_dataset(table("south", "east", "north"))
    assert names_for(SETTINGS, dataset) == DATA
    assert cameras_of(SETTINGS, DATA) == Cameras("camera", (0, 1, 2), ("east", "north", "south"))
    assert names_for({}, dataset) == {}
    assert names_for(SETTINGS, open_dataset(table("1", "2"))) == {}
    for wrong in ("east", ["east"], ["east", "east", "south"], [1, 2, 3]):
        with pytest.raises(DeltaError, match="the names of its cameras are"):
            cameras_of(SETTINGS, {"camera_names": wrong})


def test_a_delta_travels_with_its_names(small_world, tmp_path, capsys):
    names = {number: f"{letter} door" for number, letter in enumerate("fedcba", 1)}

    def write(name, records, chosen):
        rows = [f"{r.path},{r.identity},{names[r.camera]},{split}" for split, r in records if r.camera in chosen]
        (tmp_path / name).write_text("\n".join(["path,identity,camera,split", *rows]) + "\n", "utf-8")
        return tmp_path / name

    world = open_dataset(small_world)
    whole = write("whole.csv", [("train", record) for record in world.train], names)
    flags = {
        "method": "lora",
        "backbone.name": "tiny",
        "training.steps": 2,
        "training.batch_size": 8,
        "training.instances": 2,
        "training.workers": 0,
        "data.validation_fraction": 0.3,
        "settings.camera_embedding": "camera",
    }
    run = open_run(str(whole), None, flags, output=tmp_path / "run")
    run.train(run.prepare(), Silent())
    header = read_header(tmp_path / "run")
    assert header.data["camera_names"] == sorted(open_dataset(whole).camera_names.values())
    assert f"0 = {header.data['camera_names'][0]}" in load(tmp_path / "run").cameras.sentence()
    assert command(["inspect", str(tmp_path / "run")]) == 0
    assert header.data["camera_names"][0] in capsys.readouterr().out
    some = [record for record in world.query if record.camera in (1, 2)][:6]
    part = write("part.csv", [("test", record) for record in some], (1, 2))
    assert open_dataset(part).camera_names == {0: "e door", 1: "f door"}
    embed_to_file(part, tmp_path / "features.npy", tmp_path / "run", cameras="known", splits=["test"])
    places = [header.data["camera_names"].index(names[record.camera]) for record in some]
    wanted = load(tmp_path / "run").embed_images([record.path for record in some], cameras=places)
    assert np.allclose(np.load(tmp_path / "features.npy"), wanted, atol=1e-5)
    plan = plan_evaluation(open_dataset(part), tmp_path / "run", cameras="known")
    assert plan.cameras == "known"
    assert [record.camera for record in plan.dataset.query] == places
    alone = plan_evaluation(open_dataset(part), tmp_path / "run", cameras="mean")
    assert [record.camera for record in alone.dataset.query] != places
