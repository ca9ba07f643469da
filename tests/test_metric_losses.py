"""What a recipe may say of metric losses; tests/losses/test_metric.py has what they compute."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from reidtune.config import RunConfig, resolve_config, resolve_with_origins, to_toml
from reidtune.errors import SettingsError
from reidtune.metric_losses import LEFT_OUT, METRIC_LOSSES, check_installed, check_name, complete_settings
from reidtune.settings import LossSection


def problem(flags):
    with pytest.raises(SettingsError) as caught:
        resolve_config(None, flags)
    lines = caught.value.message.splitlines()
    assert len(lines) == 2, lines
    return lines[1].strip()


def test_defaults_are_filled_in_and_are_those_of_the_library():
    library = pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning import losses, miners

    assert library.__version__
    kinds = {
        "circle": [losses.CircleLoss],
        "supcon": [losses.SupConLoss],
        "multi-similarity": [losses.MultiSimilarityLoss, miners.MultiSimilarityMiner],
        "arcface": [losses.ArcFaceLoss],
        "cosface": [losses.CosFaceLoss],
        "normalized-softmax": [losses.NormalizedSoftmaxLoss],
        "proxy-anchor": [losses.ProxyAnchorLoss],
    }
    assert {*kinds, "center"} == set(METRIC_LOSSES)
    for name, classes in kinds.items():
        theirs = {
            key: parameter.default
            for kind in classes
            for key, parameter in inspect.signature(kind).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        assert complete_settings(name, {}) == {key: pytest.approx(value) for key, value in theirs.items()}, name
        assert LossSection(metric=name).metric_settings == complete_settings(name, {})


def test_a_recipe_names_a_loss_and_what_differs(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('[loss]\nmetric = "circle"\nmetric_weight = 0.5\nmetric_settings = { m = 0.25 }\n')
    config, origins = resolve_with_origins(str(path), {})
    assert (config.loss.metric, config.loss.metric_weight) == ("circle", 0.5)
    assert config.loss.metric_settings == {"m": 0.25, "gamma": 80.0}
    text = to_toml(config, origins=origins)
    assert "metric_settings = { m = 0.25, gamma = 80.0 }" in text
    line = next(line for line in text.splitlines() if line.startswith("metric_settings"))
    assert line.endswith(f"[recipe {path}]")
    again = tmp_path / "again.toml"
    again.write_text(to_toml(config))
    assert resolve_config(str(again), {}) == config
    assert resolve_config(str(again), {"loss.metric_settings.gamma": 64}).loss.metric_settings["gamma"] == 64.0


def test_no_metric_loss_by_default():
    loss = RunConfig().loss
    assert (loss.metric, loss.metric_weight, loss.metric_settings) == (None, None, {})
    assert 'metric = "none"' in to_toml(RunConfig())
    assert resolve_config(None, {"loss.metric": "none"}).loss.metric is None


def test_the_weight_is_the_usual_one_where_none_is_given():
    weights = {name: LossSection(metric=name).metric_weight for name in METRIC_LOSSES}
    assert weights == {**dict.fromkeys(METRIC_LOSSES, 1.0), "center": 0.0005}
    assert LossSection(metric="center", metric_weight=0.1).metric_weight == 0.1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"metric": "cirle"}, 'loss.metric: unknown loss "cirle". Did you mean "circle"? Known: circle, supcon, '),
        ({"metric": "proxy-nca"}, 'loss.metric: "proxy-nca" is not offered: the library counts'),
        ({"metric": 3}, "loss.metric: must be a valid string, but is 3"),
        (
            {"metric": "circle", "metric_settings": {"gama": 3}},
            'loss.metric_settings: circle has no setting "gama". Did you mean "gamma"? '
            "Its settings: m = 0.4, gamma = 80",
        ),
        (
            {"metric": "circle", "metric_settings": {"m": 1.5}},
            "loss.metric_settings: m of circle must be above 0 and below 1, but is 1.5",
        ),
        (
            {"metric": "arcface", "metric_settings": {"scale": "big"}},
            "loss.metric_settings: scale of arcface must be a number, but is 'big'",
        ),
        (
            {"metric": "supcon", "metric_settings": {"temperature": float("nan")}},
            "loss.metric_settings: temperature of supcon must be above 0, but is nan",
        ),
        ({"metric_settings": {"m": 0.4}}, "loss.metric_settings: m is set, but loss.metric is none"),
        ({"metric": "circle", "metric_weight": -1.0}, "loss.metric_weight: must be greater than or equal to 0"),
    ],
)
def test_what_is_wrong_is_said(flags, line):
    assert problem({f"loss.{name}": value for name, value in flags.items()}).startswith(line)


def test_a_loss_of_pairs_needs_two_images_of_an_identity():
    flags = {"training.instances": 1, "loss.triplet": 0.0}
    wanted = "training.instances must be at least 2 for the circle loss, but is 1"
    assert problem({**flags, "loss.metric": "circle"}) == wanted
    resolve_config(None, {**flags, "loss.metric": "arcface"})
    resolve_config(None, {**flags, "loss.metric": "circle", "training.sampler": "shuffle"})


def test_a_metric_loss_alone_is_something_to_learn_from():
    alone = {"loss.identity": 0.0, "loss.triplet": 0.0, "loss.metric": "supcon"}
    assert resolve_config(None, alone).loss.metric == "supcon"
    assert "nothing to learn from" in problem({**alone, "loss.metric_weight": 0.0})


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_has_a_reason(name):
    assert name not in METRIC_LOSSES
    with pytest.raises(ValueError, match=f'"{name}" is not offered: '):
        check_name(name)


def test_the_install_sentence(monkeypatch):
    monkeypatch.setattr("reidtune.metric_losses.find_spec", lambda name: None)
    check_installed(None)
    check_installed("center")
    with pytest.raises(SettingsError, match="arcface comes from pytorch-metric-learning") as caught:
        check_installed("arcface")
    assert caught.value.exit_code == 2
    assert "pip install 'reidtune[losses]'" in caught.value.hint


def test_a_bound_that_is_allowed_is_not_called_too_high():
    assert complete_settings("center", {"alpha": 1}) == {"alpha": 1.0}
    with pytest.raises(ValueError, match="must be above 0 and at most 1, but is 1.1"):
        complete_settings("center", {"alpha": 1.1})
    with pytest.raises(ValueError, match="must be above 0 and below 1, but is 1"):
        complete_settings("circle", {"m": 1})
