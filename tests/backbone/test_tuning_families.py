"""The methods on every family: gradients, merging, and what cannot work says so."""

import pytest
import torch

from reidtune.errors import SettingsError
from reidtune.methods.registry import find_method
from reidtune.tuning.tuner import Tuner
from tests.backbone.families import FAMILIES, inputs, plain, relative

ALL_LINEARS = ["q", "k", "v", "out", "fc1", "fc2"]
EVERYWHERE = {"lora": {"targets": ALL_LINEARS, "rank": 2, "towers": "both"}, "vpt": {"tokens": 3}}
EVERYWHERE |= {"adapter": {"width": 8, "towers": "both"}}
OTHERS = {"bias": {}, "norm": {}, "ssf": {}, "prefix": {"rows": 2}, "linear": {}, "full": {"towers": "both"}}
OTHERS |= {"ivlp": {}, "maple": {}, "cskt": {}, "up-person": {"reduction": 2}, "coop": {}}


def tuner_of(backbone, name, settings):
    page = find_method(name)
    return page(page.Settings(**settings)).tuner(backbone).train()


def features(backbone, tuner):
    images, ids = inputs(backbone, 6)
    return [tower(batch, tuner) for tower, batch in ((backbone.image, images), (backbone.text, ids))]


def gradients_of_two_steps(backbone, tuner):
    """Which tensors had a gradient other than zero in one of two steps."""
    optimiser = torch.optim.SGD(tuner.parameters(), 0.1)
    seen = set()
    generator = torch.Generator().manual_seed(2)
    goals = [torch.randn(found.shape, generator=generator) for found in features(backbone, tuner)]
    for _ in range(2):
        optimiser.zero_grad()
        sum((found * goal).sum() for found, goal in zip(features(backbone, tuner), goals, strict=True)).backward()
        seen |= {name for name, value in tuner.named_parameters() if value.grad is not None and bool(value.grad.any())}
        optimiser.step()
    return seen


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", EVERYWHERE)
def test_every_tensor_learns_within_two_steps(family, name, method):
    backbone, _ = family(name)
    tuner = tuner_of(backbone, method, EVERYWHERE[method])
    assert gradients_of_two_steps(backbone, tuner) == set(dict(tuner.named_parameters()))
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


@pytest.mark.parametrize("name", ["siglip", "eva02", "eva02, norm after", "pe-core", "vitamin", "mobileclip", "coca"])
@pytest.mark.parametrize("method", OTHERS)
def test_other_methods_learn_too(family, name, method):
    backbone, _ = family(name)
    tuner = tuner_of(backbone, method, OTHERS[method])
    assert gradients_of_two_steps(backbone, tuner) == set(dict(tuner.named_parameters()))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "ssf", "bias", "norm", "full", "linear"])
def test_what_merges_gives_plain_open_clip_the_same_features(family, name, method):
    backbone, _ = family(name)
    tuner = tuner_of(backbone, method, {**EVERYWHERE, **OTHERS}[method]).eval()
    with torch.no_grad():
        for parameter in tuner.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    values = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    merged = tuner.merge(values, {"image": backbone.image, "text": backbone.text})
    assert merged == (method != "linear" or backbone.image.projection is not None)
    if not merged:
        return
    model = plain(FAMILIES[name])
    model.load_state_dict(values)
    images, ids = inputs(backbone, 6)
    with torch.no_grad():
        before = backbone.image(images, Tuner())
        ours = features(backbone, tuner)
        assert relative(ours[0], before) > 1e-3
        assert relative(model.encode_image(images, normalize=False), ours[0]) < 1e-5
        assert relative(model.encode_text(ids, normalize=False), ours[1]) < 1e-5


def test_clip_reid_and_a_prior_need_clips_own_words(family):
    from reidtune.tuning.text_prior import text_prior

    page = find_method("clip-reid")
    with pytest.raises(SettingsError, match="clip-reid needs texts of CLIP's own tokenizer"):
        page(page.Settings(identities=3)).components(family("worldwide")[0])
    with pytest.raises(SettingsError, match="pools by attention"):
        page(page.Settings(identities=3)).components(family("pe-core")[0])
    with pytest.raises(SettingsError, match="A prior from the text encoder needs"):
        text_prior(family("clipa")[0], ["a photo"], 2, 2)
