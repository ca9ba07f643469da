"""What is computed once: the same results without reading an image again, and never from a file that is not right."""

import os

import pytest
import torch

from reidtune.delta import read_header, read_tensors
from reidtune.errors import ReidtuneError
from reidtune.paths import cache_folder
from reidtune.training import frozen as module
from reidtune.training import row_file
from reidtune.training.open import open_run
from reidtune.training.plan import dry_run
from reidtune.training.state import load_state
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent

pytestmark = pytest.mark.usefixtures("own_cache")

PLAIN = {"augmentation.flip": 0.0, "augmentation.pad": 0, "augmentation.erase": 0.0}


@pytest.fixture
def flags(least):
    return {
        **least,
        "method": "adapter",
        "settings.blocks": 1,
        "settings.width": 4,
        "optimiser.lr": 3e-3,
        "training.epochs": 2,
        **PLAIN,
    }


def opened(world, flags, output, said=None):
    run = open_run(str(world), None, flags, output=output)
    return run, run.prepare([].append if said is None else said.append)


def start(world, flags, output, reporter=None, said=None):
    run, prepared = opened(world, flags, output, said)
    return run.train(prepared, reporter or Silent(), [].append if said is None else said.append)


def go_on(output, flags=None, reporter=None, said=None):
    run = open_run(None, None, flags or {}, resume=output)
    return run.train(run.prepare(), reporter or Silent(), [].append if said is None else said.append)


def delta(run):
    return (run / "delta.safetensors").read_bytes()


def cached():
    """The files of rows, that of the training images (there are more of them) before that of the validation."""
    return sorted((cache_folder() / "frozen").glob("*"), key=lambda path: -path.stat().st_size)


def furthest(one, other):
    """The largest difference of two deltas, as a share of the largest entry. What is added to keys, or to all features
    alike, changes no loss but by rounding, of which Adam makes steps: left out."""
    ours, theirs = read_tensors(one), read_tensors(other)
    assert ours.keys() == theirs.keys()
    theirs = {name: value for name, value in theirs.items() if not name.endswith(("k_shift", "ln_post_shift"))}
    return max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in theirs)


METHODS = {
    "adapter": {},
    "lora": {"settings.blocks": 1, "settings.dropout": 0.2, "settings.width": None},
    "vpt": {"settings.width": None},
    "ssf": {"settings.width": None},
    "linear": {"settings.width": None, "settings.blocks": None},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_rows_computed_once_is_the_run_on_images(small_world, flags, tmp_path, method):
    chosen = {**flags, "method": method, **METHODS[method]}
    one, other = Silent(), Silent()
    said = []
    start(small_world, chosen, tmp_path / "cached", one, said)
    start(small_world, {**chosen, "training.cache_frozen": "none"}, tmp_path / "plain", other)
    assert furthest(tmp_path / "cached", tmp_path / "plain") < 1e-4  # of 16 steps of Adam; seen: 8e-6
    for ours, theirs in zip(one.rows, other.rows, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
        assert ours.get("loss", 0.0) == pytest.approx(theirs.get("loss", 0.0), rel=1e-5)
    assert len(cached()) == 2
    for often in ("epoch", "validation"):
        assert len([sentence for sentence in said if f"computed once and not in every {often}" in sentence]) == 1
    assert load_state(tmp_path / "cached")[0].frozen and not load_state(tmp_path / "plain")[0].frozen


def test_no_image_is_read_for_training_once_they_are_there(small_world, flags, tmp_path, monkeypatch):
    flags["data.validation_fraction"] = 0.0
    start(small_world, flags, tmp_path / "one")
    reads = []
    original = module.eval_loader
    monkeypatch.setattr("reidtune.training.batches.train_loader", lambda *a, **k: pytest.fail("an image was read"))
    monkeypatch.setattr(module, "eval_loader", lambda records, *a: reads.append(len(records)) or original(records, *a))
    start(small_world, flags, tmp_path / "two")
    assert reads == [3]  # the samples that are verified
    assert delta(tmp_path / "one") == delta(tmp_path / "two")


@pytest.mark.parametrize("at", [1, 6])
@pytest.mark.parametrize("lost", [False, True])
def test_an_interrupted_run_ends_in_the_same_bytes_also_where_the_file_is_gone(small_world, flags, tmp_path, at, lost):
    start(small_world, flags, tmp_path / "whole")
    with pytest.raises(Interrupted):
        start(small_world, flags, tmp_path / "broken", InterruptAt(at))
    if lost:
        [path.unlink() for path in cached()]
    go_on(tmp_path / "broken")
    assert delta(tmp_path / "whole") == delta(tmp_path / "broken")
    assert len(cached()) == 2


def test_a_run_goes_on_as_it_began(small_world, flags, tmp_path):
    said = []
    plain = {**flags, "training.cache_frozen": "none"}
    start(small_world, plain, tmp_path / "whole")
    with pytest.raises(Interrupted):
        start(small_world, plain, tmp_path / "broken", InterruptAt(3))
    go_on(tmp_path / "broken", {"training.cache_frozen": "auto"}, said=said)
    assert delta(tmp_path / "whole") == delta(tmp_path / "broken")
    assert not load_state(tmp_path / "broken")[0].frozen
    assert len(cached()) == 1  # of the validation


def test_a_resumed_run_without_room_is_told_and_can_go_on_without(small_world, flags, tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        start(small_world, flags, tmp_path / "run", InterruptAt(3))
    [path.unlink() for path in cached()]
    monkeypatch.setattr(row_file, "MOST_BYTES", 100)
    with pytest.raises(ReidtuneError, match="The run has read rows that it computed once") as caught:
        go_on(tmp_path / "run")
    assert "--set training.cache_frozen=none" in caught.value.hint
    go_on(tmp_path / "run", {"training.cache_frozen": "none"})
    assert (tmp_path / "run" / "delta.safetensors").exists()


def _damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def _exchange(path):
    """A sound file under the right name, with rows of other images."""
    table = row_file.map_rows(path, path.stem, *_form(path))
    others = table.clone().flip(0)
    shape, count, dtype = _form(path)
    row_file.write_rows(path, path.stem, shape, count, dtype, [others])


def _form(path):
    from safetensors.torch import load_file

    rows = load_file(path)["rows"]
    return tuple(rows.shape[1:]), len(rows), "fp32"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_damage, "is not what was written"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (_exchange, "not what this backbone gives for these images"),
    ],
)
def test_a_file_that_is_not_right_is_noticed_and_computed_again(small_world, flags, tmp_path, spoil, words):
    start(small_world, flags, tmp_path / "one")
    spoil(cached()[0])
    said = []
    start(small_world, flags, tmp_path / "two", said=said)
    assert [sentence for sentence in said if words in sentence and "it is computed again" in sentence]
    assert delta(tmp_path / "one") == delta(tmp_path / "two")


def test_without_room_blocks_are_computed_in_every_epoch_and_features_kept_in_memory(
    small_world, flags, tmp_path, monkeypatch
):
    start(small_world, {**flags, "training.cache_frozen": "none"}, tmp_path / "plain")
    linear = {**flags, "method": "linear", **METHODS["linear"]}
    start(small_world, linear, tmp_path / "linear")
    [path.unlink() for path in cached()]
    monkeypatch.setattr(row_file, "MOST_BYTES", 100)
    said = []
    start(small_world, flags, tmp_path / "full", said=said)
    assert delta(tmp_path / "plain") == delta(tmp_path / "full")
    assert any("are computed in every epoch" in s and "more than the 100 bytes that are kept" in s for s in said)
    start(small_world, linear, tmp_path / "memory")
    assert delta(tmp_path / "linear") == delta(tmp_path / "memory")
    assert cached() == []


def test_a_disk_that_fills_while_rows_are_written_falls_back(small_world, flags, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_rows", full)
    said = []
    start(small_world, flags, tmp_path / "run", said=said)
    assert any("cannot be written (No space left on device)" in sentence for sentence in said)


REASONS = [
    ({"augmentation.flip": 0.5}, "images are augmented"),
    ({"augmentation.pad": 1}, "images are augmented"),
    ({"augmentation.erase": 0.1}, "images are augmented"),
    ({"settings.blocks": 0}, "acts in the first block"),
    ({"training.cache_frozen": "none"}, "training.cache_frozen is none"),
    ({"training.steps": 1}, "no image is read twice"),
    ({"method": "clip-reid", "settings.width": None, "settings.blocks": None}, None),
]


@pytest.mark.parametrize(("change", "reason"), REASONS)
def test_when_it_applies(small_world, flags, tmp_path, change, reason):
    said = []
    run, prepared = opened(small_world, {**flags, **change}, tmp_path / "run", said)
    found = dry_run(prepared)["frozen"]
    assert found["applies"] == (reason is None) and (reason or "") in str(found["reason"])
    told = [sentence for sentence in said if "computed once" in sentence and "validation images" not in sentence]
    assert len(told) == (reason in ("images are augmented", None))
    if reason == "images are augmented":
        assert "--set augmentation.flip=0 --set augmentation.pad=0 --set augmentation.erase=0" in told[0]
    if reason is None:  # the first stage of clip-reid
        assert (found["stage"], found["features"], found["forward_flops_share"]) == ("prompts", True, 1.0)


def test_a_dry_run_counts_what_is_kept(small_world, flags, tmp_path, small_backbone):
    run, prepared = opened(small_world, flags, tmp_path / "run")
    found = dry_run(prepared)["frozen"]
    assert (found["blocks_skipped"], found["blocks"], found["features"]) == (1, 2, False)
    assert found["images"] == len({record.images for record in prepared.train})
    assert found["bytes"] == found["images"] * (9 * 32 * 4 + 8)
    assert 0.7 < found["forward_flops_share"] < 0.95  # the other block is computed for one row
    assert cached() == []
    half = {**flags, "training.precision": "bf16"}
    assert dry_run(opened(small_world, half, tmp_path / "run")[1])["frozen"]["bytes"] == found["images"] * (9 * 64 + 8)


def test_bf16_rows_are_close_and_their_file_is_another(small_world, flags, tmp_path):
    half = {**flags, "training.precision": "bf16", "data.validation_fraction": 0.0}
    for name, chosen in (("cached", half), ("plain", {**half, "training.cache_frozen": "none"})):
        start(small_world, chosen, tmp_path / name)
    assert 0 < furthest(tmp_path / "cached", tmp_path / "plain") < 0.5  # two epochs of rounding
    assert _form(cached()[0])[0] == (9, 32)
    assert row_file.map_rows(cached()[0], cached()[0].stem, (9, 32), _form(cached()[0])[1], "bf16") is not None


def test_the_key_is_of_everything_that_the_rows_depend_on(small_world, flags, tmp_path, small_backbone):
    def key(**changes):
        return opened(small_world, {**flags, **changes}, tmp_path / "run")[1].frozen.key()

    keys = [key(), key(**{"training.precision": "bf16"}), key(**{"backbone.image_size": "32x24"})]
    keys += [key(seed=2), key(**{"method": "linear", **METHODS["linear"]})]  # another split; features
    frozen = opened(small_world, flags, tmp_path / "run")[1].frozen
    backbone = frozen.model.backbone
    before = backbone.fingerprint["digest"]
    backbone.fingerprint["digest"] = "other weights"
    keys.append(frozen.key())
    backbone.fingerprint["digest"] = before
    assert frozen.key() == keys[0]
    file = frozen.images[0].path
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    keys.append(frozen.key())
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(set(keys)) == len(keys)
    same = {"optimiser.lr": 1.0, "training.batch_size": 12, "settings.width": 8}
    assert key(**same) == key()


def test_samples_of_several_modalities(spectral_world, flags, tmp_path):
    chosen = {**flags, "training.instances": 2, "augmentation.drop_modality": 0.3}
    start(spectral_world, chosen, tmp_path / "cached")
    start(spectral_world, {**chosen, "training.cache_frozen": "none"}, tmp_path / "plain")
    assert furthest(tmp_path / "cached", tmp_path / "plain") < 1e-4  # of 16 steps of Adam; seen: 8e-6
    frozen = opened(spectral_world, chosen, tmp_path / "run")[1].frozen
    assert frozen.places.shape[1] == 3 and len(frozen.images) == int((frozen.places >= 0).sum())
    rows = module.FrozenRows(torch.arange(4.0)[:, None], torch.tensor([[0, -1], [2, 3]]), None)
    assert rows.take(torch.tensor([1, 0])).flatten().tolist() == [2, 3, 0, 0]


def test_micro_batches_of_frozen_rows(small_world, flags, tmp_path):
    start(small_world, flags, tmp_path / "whole")
    start(small_world, {**flags, "training.micro_batch": 3}, tmp_path / "parts")
    assert furthest(tmp_path / "whole", tmp_path / "parts") < 1e-4
    assert read_header(tmp_path / "whole").settings["blocks"] == 1


@pytest.mark.parametrize("method", METHODS)
def test_validations_read_no_image_again_where_training_images_are_augmented(
    small_world, flags, tmp_path, method, monkeypatch
):
    chosen = {**flags, "augmentation.flip": 0.5, "method": method, **METHODS[method]}
    plain = Silent()
    start(small_world, {**chosen, "training.cache_frozen": "none"}, tmp_path / "plain", plain)
    said, told = [], Silent()
    run, prepared = opened(small_world, chosen, tmp_path / "run", said)
    monkeypatch.setattr("reidtune.retrieval.embed.eval_loader", lambda *a, **k: pytest.fail("an image was read"))
    run.train(prepared, told, said.append)
    assert delta(tmp_path / "run") == delta(tmp_path / "plain")
    assert told.rows == [pytest.approx(row, rel=1e-5) for row in plain.rows]
    [sentence] = [one for one in said if "computed once and not in every validation" in one]
    assert len(cached()) == 1
    found = dry_run(prepared)["frozen"]
    assert not found["applies"] and found["validation"]["applies"]
    assert found["validation"]["images"] == len(prepared.validation)
    share = found["validation"]["forward_flops_share"]
    assert f"{100 * share:.0f} % of the forward FLOPs" in sentence and (share == 1.0) == (method == "linear")


def test_validations_of_samples_and_of_captions(spectral_world, text_world, flags, tmp_path):
    several = {**flags, "training.instances": 2, "augmentation.drop_modality": 0.3}
    texts = {**flags, "backbone.name": "tiny", "backbone.image_size": "96x48", "training.steps": 2}
    for name, world, chosen in (("samples", spectral_world, several), ("captions", text_world, texts)):
        one, other = Silent(), Silent()
        start(world, chosen, tmp_path / name, one)
        start(world, {**chosen, "training.cache_frozen": "none"}, tmp_path / f"{name}-plain", other)
        assert one.rows[0]["validation mAP"] == pytest.approx(other.rows[0]["validation mAP"], rel=1e-5)
        assert one.rows[0]["validation mAP"] > 0


REFUSALS = [
    ({"settings.blocks": 0}, "acts in the first block"),
    ({"training.cache_frozen": "none"}, "training.cache_frozen is none"),
    ({"data.validation_fraction": 0.0}, "there is no validation"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSALS)
def test_when_validations_are_computed_from_images(small_world, flags, tmp_path, change, reason):
    said = []
    _, prepared = opened(small_world, {**flags, **change}, tmp_path / "run", said)
    found = dry_run(prepared)["frozen"]["validation"]
    assert not found["applies"] and reason in found["reason"]
    assert not any("validation images" in sentence for sentence in said)


def test_without_room_validations_are_computed_from_images(small_world, flags, tmp_path, monkeypatch):
    chosen = {**flags, "augmentation.flip": 0.5}
    start(small_world, {**chosen, "training.cache_frozen": "none"}, tmp_path / "plain")
    monkeypatch.setattr(row_file, "MOST_BYTES", 100)
    said = []
    start(small_world, chosen, tmp_path / "run", said=said)
    assert delta(tmp_path / "run") == delta(tmp_path / "plain")
    assert sum("are computed in every validation" in sentence for sentence in said) == 1
