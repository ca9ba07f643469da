"""Training on images with captions: from the JSON list to a delta, stages, resume, validation split."""

import json

import pytest
import torch

from reidtune.delta import read_header, read_tensors
from reidtune.errors import SettingsError
from reidtune.training.open import open_run
from reidtune.training.plan import dry_run
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent


def flags(method, **more):
    return {
        "method": method,
        "backbone.name": "tiny",
        "training.steps": 6,
        "training.batch_size": 8,
        "optimiser.warmup_epochs": 0.0,
        **more,
    }


METHODS = ("lora", "full", "dm-adapter", "cskt", "prompt-decoupling", "up-person", "coop", "ivlp", "maple", "adapter")


@pytest.mark.parametrize("method", METHODS)
def test_every_text_method_trains_saves_and_loads(method, text_world, tmp_path):
    import reidtune

    run = open_run(str(text_world), None, flags(method), output=tmp_path / "run")
    reporter = Silent()
    outcome = run.train(run.prepare(), reporter)
    assert {"rank-1", "mAP", "protocol"} <= set(outcome["metrics"])
    assert outcome["metrics"]["protocol"] == "cross-modality"
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in reporter.rows if "loss" in row)
    header = read_header(tmp_path / "run" / "delta.safetensors")
    assert (header.task, header.protocol) == ("text", "cross-modality")
    model = reidtune.load(tmp_path / "run")
    texts = model.embed_texts(["a man in a red coat", "a woman"])
    plain = reidtune.load(backbone="tiny").embed_texts(["a man in a red coat", "a woman"])
    assert texts.shape == plain.shape and not torch.equal(texts, plain)


def test_the_recipe_of_text_data_is_found_by_what_the_data_is(text_world, small_world, tmp_path):
    text = open_run(str(text_world), None, {"method": "lora", "backbone.name": "tiny"}, output=tmp_path / "a")
    image = open_run(str(small_world), None, {"method": "lora", "backbone.name": "tiny"}, output=tmp_path / "b")
    large = open_run(str(text_world), None, {"method": "lora", "backbone.name": "ViT-B-16"}, output=tmp_path / "c")
    assert (text.config.loss.sdm, text.config.loss.triplet, text.config.settings["towers"]) == (1.0, 0.0, "both")
    assert (image.config.loss.sdm, image.config.loss.triplet) == (0.0, 1.0)
    assert large.config.backbone.image_size == (384, 128)


def test_prompts_learn_first_and_stay_while_the_rest_learns(text_world, tmp_path):
    run = open_run(str(text_world), None, flags("prompt-decoupling"), output=tmp_path / "run")
    prepared = run.prepare()
    tuner, seen = prepared.model.tuner, []
    original = prepared.method.begin

    def begin(stage, model, records):
        seen.append({name: value.clone() for name, value in tuner.state_dict().items()})
        original(stage, model, records)

    prepared.method.begin = begin
    run.train(prepared, Silent())
    start, switch = seen
    end = tuner.state_dict()
    for name in end:
        prompts = "_prompts." in name
        assert torch.equal(start[name], switch[name]) != prompts, name
        assert not prompts or torch.equal(switch[name], end[name]), name
    assert any(not torch.equal(switch[name], end[name]) for name in end if "_difference." in name)
    unchanged = torch.zeros(1)
    assert all(torch.equal(switch[name].abs().max().view(1), unchanged) for name in end if "_difference." in name)


@pytest.mark.parametrize("method", ["dm-adapter", "prompt-decoupling"])
def test_an_interrupted_run_ends_in_the_same_bytes(method, text_world, tmp_path):
    wanted = flags(method, **{"augmentation.mask_words": 0.3})
    whole = open_run(str(text_world), None, wanted, output=tmp_path / "whole")
    whole.train(whole.prepare(), Silent())
    broken = open_run(str(text_world), None, wanted, output=tmp_path / "broken")
    with pytest.raises(Interrupted):
        broken.train(broken.prepare(), InterruptAt(4))
    again = open_run(None, None, {}, resume=tmp_path / "broken")
    again.train(again.prepare(), Silent())
    first, second = ((tmp_path / name / "delta.safetensors").read_bytes() for name in ("whole", "broken"))
    assert first == second


def test_masking_changes_what_is_learned(text_world, tmp_path):
    tensors = []
    for share in (0.0, 0.5):
        run = open_run(
            str(text_world), None, flags("coop", **{"augmentation.mask_words": share}), output=tmp_path / str(share)
        )
        run.train(run.prepare(), Silent())
        tensors.append(read_tensors(tmp_path / str(share))["text_prompts.prompts"])
    assert not torch.equal(*tensors)


def test_validation_is_the_layouts_own_split_or_carved_and_never_test(text_world, tmp_path):
    def prepared(**more):
        return open_run(str(text_world), None, flags("coop", **more), output=tmp_path / "run").prepare()

    own = prepared()
    entries = json.loads((text_world / "reid_raw.json").read_text())
    people = {split: {e["id"] for e in entries if e["split"] == split} for split in ("train", "val", "test")}
    assert not own.carved
    assert {record.identity for record in own.validation} == people["val"]
    assert {record.identity for record in own.train} == people["train"]
    assert all(len(record.captions) == 1 for record in own.train)
    none = prepared(**{"data.validation_fraction": 0.0})
    assert none.carved and not none.validation
    for entry in entries:  # a list without a validation split
        entry["split"] = "train" if entry["split"] == "val" else entry["split"]
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "reid_raw.json").write_text(json.dumps(entries))
    (copy / "imgs").symlink_to(text_world / "imgs")
    carved = open_run(str(copy), None, flags("coop"), output=tmp_path / "run2").prepare()
    held_out = {record.identity for record in carved.validation}
    assert carved.carved and held_out and not held_out & {record.identity for record in carved.train}
    assert held_out <= people["train"] | people["val"]


def test_a_dry_run_counts_captions_and_memory(text_world, tmp_path):
    run = open_run(str(text_world), None, flags("dm-adapter"), output=tmp_path / "run")
    prepared = run.prepare()
    result = dry_run(prepared)
    assert result["data"]["training"]["captions"] == len(prepared.train)
    assert result["memory"]["activation_bytes_per_image"] > 0
    assert result["parameters"]["trainable"] == prepared.model.tuner.parameter_count()


@pytest.mark.parametrize(
    ("data", "more", "words"),
    [
        ("image", {"method": "cskt"}, "is for text data"),
        ("text", {"method": "vpt"}, "is for image data"),
        ("text", {"loss.sdm": 0.0, "loss.identity": 1.0}, "No loss that matches texts has a weight"),
        ("text", {"loss.triplet": 1.0}, r"loss\.triplet is not computed on text data"),
        ("image", {"method": "lora", "loss.sdm": 1.0}, r"loss\.sdm is not computed on image data"),
        ("text", {"settings.tokens": 80}, "80 prompt rows leave no room for words"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(data, more, words, text_world, small_world, tmp_path):
    source = text_world if data == "text" else small_world
    wanted = {**flags("coop"), **more}
    with pytest.raises(SettingsError, match=words):
        open_run(str(source), None, wanted, output=tmp_path / "run").prepare()
