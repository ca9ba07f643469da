"""Bad input on the command line: one clear sentence, the documented exit code, nothing lost."""

import errno
import os
import shutil

import pytest
from PIL import Image

from reidtune.cli.app import run
from reidtune.delta import verify


@pytest.fixture
def world(small_world, tmp_path):
    """A copy of the small world that a test may damage."""
    folder = tmp_path / "world"
    shutil.copytree(small_world, folder)
    return folder


@pytest.fixture
def options(options):
    return [*options, "--steps=2"]


def refused(capsys, code, *sentences, arguments):
    """Run, and check code and sentences on stderr; stdout stays empty."""
    assert run([str(argument) for argument in arguments]) == code
    printed = capsys.readouterr()
    said = " ".join(printed.err.split())
    for sentence in sentences:
        assert sentence in said
    assert printed.out == ""
    assert "Traceback" not in said


def first_image(world, split="bounding_box_train"):
    return min((world / split).glob("0*.jpg"))


def test_data_that_is_missing_empty_or_unrecognisable(capsys, tmp_path):
    refused(capsys, 4, 'no file or folder "', arguments=["train", tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    refused(capsys, 4, "empty", arguments=["evaluate", tmp_path / "empty"])
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "notes.txt").write_text("nothing to see")
    refused(capsys, 4, arguments=["train", tmp_path / "odd"])


def test_the_original_cuhk03_is_not_read(capsys, tmp_path):
    (tmp_path / "cuhk-03.mat").touch()
    for command in ("train", "evaluate", "data"):
        refused(capsys, 4, "is the original CUHK03", "Take CUHK03-NP", arguments=[command, tmp_path])


def test_an_unknown_layout_or_protocol_gets_a_suggestion(capsys, world):
    refused(capsys, 2, 'Did you mean "market1501"?', arguments=["train", world, "--layout", "market"])
    refused(capsys, 2, 'Did you mean "cross-camera"?', arguments=["evaluate", world, "--protocol", "crosscamera"])


def test_one_identity_only(capsys, tmp_path):
    folder = tmp_path / "data" / "train" / "anna"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (16, 32), (number, 0, 0)).save(folder / f"{number}.png")
    refused(capsys, 4, "identit", arguments=["train", tmp_path / "data"])


def test_too_few_identities_for_a_batch_says_what_works(capsys, world, options, tmp_path):
    arguments = ["train", world, *options, "--batch-size=64", "--output", tmp_path / "run"]
    refused(capsys, 2, "needs 16 identities", "batch size of at most", arguments=arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_files_that_are_no_images_are_named_before_anything_long(capsys, world, options, tmp_path, content):
    victim = first_image(world)
    victim.write_bytes(content)
    refused(capsys, 4, victim.name, arguments=["train", world, *options, "--output", tmp_path / "run"])
    victim = first_image(world, "query")
    victim.write_bytes(content)
    refused(capsys, 4, victim.name, arguments=["evaluate", world, "--backbone", "tiny"])


def test_a_truncated_file_is_named(capsys, world):
    victim = first_image(world, "query")
    victim.write_bytes(victim.read_bytes()[:700])
    refused(capsys, 4, victim.name, arguments=["evaluate", world, "--backbone", "tiny"])


def test_unknown_names_get_suggestions(capsys, world):
    refused(capsys, 2, 'unknown method "lorra". Did you mean "lora"?', arguments=["train", world, "--method", "lorra"])
    refused(
        capsys, 2, 'Unknown backbone "ViT-B-61". Did you mean', arguments=["evaluate", world, "--backbone", "ViT-B-61"]
    )
    refused(capsys, 2, "RN50", "not supported: a ResNet", arguments=["evaluate", world, "--backbone", "RN50"])
    refused(capsys, 2, "opneai", arguments=["evaluate", world, "--backbone", "ViT-B-16", "--pretrained", "opneai"])
    refused(capsys, 2, "nope", arguments=["train", world, "--recipe", "nope"])
    refused(
        capsys, 2, "is not available here", arguments=["evaluate", world, "--backbone", "tiny", "--device", "cuda:7"]
    )


def test_all_bad_settings_are_reported_at_once(capsys, world):
    arguments = ["train", world, "--set", "optimiser.lrr=3", "--epochs", "0", "--set", "settings.rank=8"]
    refused(
        capsys,
        2,
        'optimiser.lrr: unknown setting. Did you mean "lr"?',
        "training.epochs: must be greater than 0",
        "training.batch_size: must be greater than 0, but is -1",
        arguments=[*arguments, "--batch-size", "-1"],
    )
    arguments = ["train", world, "--set", "settings.rang=8", "--set", "settings.alpha=-1", "--backbone", "tiny"]
    refused(capsys, 2, 'Did you mean "rank"?', "settings.alpha: must be greater than 0", arguments=arguments)


@pytest.fixture
def trained(capsys, world, options, tmp_path):
    assert run(["train", str(world), *options, "--output", str(tmp_path / "run"), "--quiet"]) == 0
    capsys.readouterr()
    return tmp_path / "run"


def test_deltas_that_do_not_fit_or_do_not_exist(capsys, world, trained, tmp_path):
    arguments = ["evaluate", world, "--delta", trained, "--backbone", "tiny"]
    refused(capsys, 3, "The delta was trained on local-dir:", "the tensor", "other values", arguments=arguments)
    refused(capsys, 2, "There is no delta at", arguments=["evaluate", world, "--delta", tmp_path / "nope.safetensors"])
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray((trained / "delta.safetensors").read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    refused(capsys, 3, "the delta is damaged", "digest", arguments=["evaluate", world, "--delta", damaged])
    refused(capsys, 3, "the delta is damaged", arguments=["inspect", damaged, "--verify"])
    damaged.write_bytes(content[:100])
    refused(capsys, 3, "the delta is damaged", arguments=["inspect", damaged])


def test_a_delta_of_a_model_folder_asks_where_it_is(capsys, world, trained):
    refused(capsys, 2, "--backbone local-dir:FOLDER", arguments=["evaluate", world, "--delta", trained])


def test_an_output_folder_in_use(capsys, world, options, trained):
    before = (trained / "delta.safetensors").read_bytes()
    arguments = ["train", world, *options, "--output", trained]
    refused(capsys, 2, "is not empty", "--force", f"--resume {trained}", arguments=arguments)
    assert (trained / "delta.safetensors").read_bytes() == before


def test_resuming_with_other_settings_names_them(capsys, trained):
    refused(
        capsys, 2, "these changed: optimiser.lr, seed", arguments=["train", "--resume", trained, "--lr", 1, "--seed", 9]
    )


def test_a_disk_that_is_full_while_saving_loses_nothing(capsys, world, options, trained, tmp_path, monkeypatch):
    real = os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 8:  # recipe, environment, the first state
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    output = tmp_path / "next"
    monkeypatch.setattr(os, "fsync", full)
    arguments = ["train", str(world), *options, "--steps=24", "--output", str(output), "--quiet"]
    assert run(arguments) == 1
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.setattr(os, "fsync", real)
    assert not list(output.rglob("*.partial"))
    assert run(["train", "--resume", str(output), "--quiet"]) == 0
    verify(output)
    assert run(["train", str(world), *options, "--steps=24", "--output", str(tmp_path / "whole"), "--quiet"]) == 0
    assert (output / "delta.safetensors").read_bytes() == (tmp_path / "whole" / "delta.safetensors").read_bytes()


def test_queries_that_cannot_be_scored(capsys, tmp_path):
    rows = ["path,identity,camera,split"]
    for number in range(4):
        Image.new("RGB", (16, 32), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},{number % 2},{'query' if number < 2 else 'gallery'}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    refused(
        capsys,
        4,
        "takes away every positive",
        "--protocol all",
        arguments=["evaluate", tmp_path / "table.csv", "--backbone", "tiny", "--protocol", "cross-camera"],
    )


def test_methods_that_cannot_be_merged_and_unknown_formats(capsys, world, options, small_backbone, tmp_path):
    folder = small_backbone.architecture.folder
    run_folder = tmp_path / "adapter"
    assert run(["train", str(world), *options, "--method", "adapter", "--output", str(run_folder), "--quiet"]) == 0
    capsys.readouterr()
    common = ["export", run_folder, "--output", tmp_path / "merged", f"--backbone=local-dir:{folder}"]
    refused(capsys, 2, "cannot be merged", "lora, full", arguments=common)
    refused(capsys, 2, 'Unknown export format "onxn"', arguments=[*common, "--to", "onxn"])
    assert not (tmp_path / "merged").exists()


def test_no_train_split_and_no_test_split(capsys, world, options, tmp_path):
    test_only, train_only = tmp_path / "test-only", tmp_path / "train-only"
    for folder, splits in ((test_only, ("query", "bounding_box_test")), (train_only, ("bounding_box_train",))):
        for split in splits:
            shutil.copytree(world / split, folder / split)
    refused(capsys, 4, "training split", arguments=["train", test_only, *options, "--output", tmp_path / "x"])
    refused(capsys, 4, "test split", arguments=["evaluate", train_only, "--backbone", "tiny"])
