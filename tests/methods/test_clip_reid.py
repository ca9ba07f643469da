"""CLIP-ReID: what each stage learns, against what, and what the feature is."""

import pytest
import torch

from reidtune.config import LossSection
from reidtune.data import open_dataset
from reidtune.delta import read_header, read_tensors
from reidtune.errors import SettingsError
from reidtune.losses.clip_reid import TEXTS, ClipReidObjective
from reidtune.losses.identity import cross_entropy_smooth
from reidtune.losses.triplet import batch_hard_triplet
from reidtune.methods.clip_reid import ClipReid, ClipReidSettings
from reidtune.model import Model
from reidtune.training.open import open_run
from reidtune.tuning.tuner import Tuner
from tests.training.reporter import Silent


def test_the_learned_words_stand_where_the_sentence_has_its_placeholders(small_backbone):
    tokenizer = small_backbone.tokenizer
    ids = tokenizer(["A photo of a X X X X lion."])[0].tolist()
    word = tokenizer(["X"])[0, 1].item()
    assert ids[5:9] == [word] * 4
    method = ClipReid(ClipReidSettings(identities=2, noun="lion"))
    model = Model(small_backbone, method.tuner(small_backbone))
    labels = torch.tensor([1, 0, 1])
    features = method._sentences(model, labels)
    assert torch.allclose(features[0], features[2], atol=1e-6) and not torch.allclose(features[0], features[1])
    words = model.tuner.get_submodule("words")
    seen = {}

    class Trace(Tuner):
        def tokens(self, walk, layer, tokens):
            seen.setdefault(layer, tokens)
            return tokens

    model.tuner = Trace({"words": words})
    method._sentences(model, labels)
    positions = small_backbone.text.parameters["positional_embedding"]
    assert torch.allclose(seen[0][1, 5:9], words.rows[0] + positions[5:9], atol=1e-6)


def test_the_feature_is_the_normed_class_row_beside_its_projection(small_backbone):
    method = ClipReid(ClipReidSettings(tune="lora"))
    images = torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = small_backbone.image(images, method.tuner(small_backbone))
        plain = small_backbone.image(images, Tuner())
    assert ours.shape == (2, 32 + 24)
    assert torch.equal(ours[:, 32:], plain)
    assert torch.allclose(ours[:, :32] @ small_backbone.image.parameters["visual.proj"], plain, atol=1e-5)


def test_a_sentence_without_labels_is_an_ordinary_text(small_backbone):
    method = ClipReid(ClipReidSettings(identities=2))
    ids = small_backbone.tokenizer(["a man"])
    with torch.no_grad():
        assert torch.equal(small_backbone.text(ids, method.tuner(small_backbone)), small_backbone.text(ids, Tuner()))


def test_the_second_objective_is_the_published_sum():
    generator = torch.Generator().manual_seed(1)
    row, image, texts = (torch.randn(*shape, generator=generator) for shape in ((6, 4), (6, 7), (3, 3)))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    objective = ClipReidObjective(4, 3, 3, LossSection(identity=0.25), matching=1.0)
    loss, parts = objective({"row": row, "image": image, TEXTS: texts}, labels)
    heads = [
        cross_entropy_smooth(neck(part), labels)
        for neck, part in zip(objective.necks, image.split([4, 3], 1), strict=True)
    ]
    hardest = [batch_hard_triplet(part, labels, 0.3) for part in (row, image[:, :4], image[:, 4:])]
    matching = cross_entropy_smooth(image[:, 4:] @ texts.T, labels)
    assert float(loss.detach()) == pytest.approx(
        float((0.25 * sum(heads) + sum(hardest) + matching).detach()), rel=1e-6
    )
    assert set(parts) == {"identity", "triplet", "matching"}


def test_the_second_objective_takes_a_metric_loss_of_what_is_ranked():
    pytest.importorskip("pytorch_metric_learning")
    row, image, texts = (torch.randn(*shape) for shape in ((6, 4), (6, 7), (3, 3)))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    objective = ClipReidObjective(4, 3, 3, LossSection(metric="arcface", metric_weight=0.5), matching=1.0)
    loss, parts = objective({"row": row, "image": image, TEXTS: texts}, labels)
    assert objective.metric.loss.W.shape == (7, 3)
    assert torch.equal(parts["metric"], objective.metric(image, labels))
    others = sum(parts[name] for name in ("identity", "triplet", "matching"))
    assert torch.allclose(loss, others + 0.5 * parts["metric"])


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_a_run_learns_words_first_and_images_then_and_saves_no_word(tune, small_world, tmp_path):
    flags = {
        "method": "clip-reid",
        "settings.tune": tune,
        "settings.prompt_share": 0.5,
        "backbone.name": "tiny",
        "training.steps": 8,
        "training.batch_size": 8,
        "training.instances": 2,
        "data.validation_fraction": 0.4,
    }
    run = open_run(str(small_world), None, flags, output=tmp_path / "run")
    prepared = run.prepare()
    tuner, before = prepared.model.tuner, {}
    begun = []
    original = prepared.method.begin

    def begin(stage, model, records):
        for name, value in tuner.state_dict().items():
            if begun and not begun[-1].trains(name):
                assert torch.equal(value, before[name]), name
        if begun:  # the words have learned
            assert not torch.equal(tuner.state_dict()["words.rows"], before["words.rows"])
        before.update({name: value.clone() for name, value in tuner.state_dict().items()})
        begun.append(stage)
        original(stage, model, records)

    prepared.method.begin = begin
    outcome = run.train(prepared, Silent())
    assert [stage.name for stage in begun] == ["prompts", "tune"]
    assert torch.equal(tuner.state_dict()["words.rows"], before["words.rows"])
    tensors = read_tensors(tmp_path / "run")
    assert tensors and not any(name.startswith("words") for name in tensors)
    header = read_header(tmp_path / "run" / "delta.safetensors")
    people = len({record.identity for record in prepared.train})
    assert header.settings["identities"] == people < len({r.identity for r in open_dataset(small_world).train})
    assert header.settings["noun"] == "person"
    assert outcome["metrics"]["mAP"] > 0


def test_more_words_than_a_sentence_holds_are_refused(small_backbone):
    with pytest.raises(SettingsError, match="80 learned words does not fit"):
        ClipReid(ClipReidSettings(tokens=80)).tuner(small_backbone)
    ClipReid(ClipReidSettings(tokens=60)).tuner(small_backbone)


def test_losses_of_text_data_or_none_are_refused(small_backbone):
    method = ClipReid(ClipReidSettings(identities=2))
    tuner = method.tuner(small_backbone)
    with pytest.raises(SettingsError, match=r"loss\.sdm is not computed on image data"):
        method.objective(tuner, small_backbone, 2, LossSection(sdm=1.0))
    with pytest.raises(SettingsError, match=r"needs loss\.identity or loss\.triplet"):
        method.objective(tuner, small_backbone, 2, LossSection(identity=0.0, triplet=0.0))
