"""torch.compile: the same features and gradients, and a sentence where it does not work."""

import pytest
import torch

from reidtune.backbone.walk import Walk
from reidtune.methods.registry import find_method
from reidtune.training.compiled import compiled


def result(backbone, tuner):
    tuner.zero_grad()
    images = torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    features = backbone.image(images, tuner.train(), Walk())
    features.square().sum().backward()
    return [features.detach(), *(parameter.grad.clone() for parameter in tuner.parameters())]


@pytest.fixture
def tuner(small_backbone):
    page = find_method("lora")
    return page(page.Settings()).tuner(small_backbone)


def test_features_and_gradients_stay(small_backbone, tuner):
    plain, calls, said = result(small_backbone, tuner), [], []
    tower = small_backbone.image

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    with compiled([tower], said.append, backend):
        found = result(small_backbone, tuner)
        with torch.no_grad():
            count = len(calls)
            tower(torch.randn(1, 3, 32, 16), tuner)
            assert len(calls) == count  # without autograd blocks run as they are
    assert calls and not said and tower.compiled is None
    for one, other in zip(plain, found, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_backend_that_fails_is_told_once_and_left_aside(small_backbone, tuner):
    plain, said = result(small_backbone, tuner), []

    def backend(graph, inputs):
        raise OSError("no compiler here")

    torch.compiler.reset()
    with compiled([small_backbone.image], said.append, backend):
        found = result(small_backbone, tuner)
        assert small_backbone.image.compiled is None
        result(small_backbone, tuner)
    assert len(said) == 1 and "torch.compile does not work here" in said[0] and "no compiler here" in said[0]
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))


def test_where_torch_cannot_compile_at_all_it_says_so(small_backbone, tuner, monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("torch.compile is not supported on this Python")

    plain, said = result(small_backbone, tuner), []
    monkeypatch.setattr(torch, "compile", refuse)
    with compiled([small_backbone.image, small_backbone.text], said.append):
        found = result(small_backbone, tuner)
    assert len(said) == 1 and "not supported on this Python" in said[0]
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
