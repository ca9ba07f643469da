"""What components may leave, add and keep to themselves; the sites themselves are tested with the tower."""

import pytest
import torch
from torch import nn

from reidtune.backbone.walk import Walk
from reidtune.data.batch import Batch
from reidtune.methods.base import STATISTICS, BaseSettings, Method
from reidtune.model import Model
from reidtune.tuning.component import Component
from reidtune.tuning.tuner import Tuner


class Everything(Component):
    """Two features joined, an intermediate output, a statistic with a loss, and a tensor that no delta needs."""

    transient = ("identities",)

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.identities = nn.Parameter(torch.zeros(5, 2))

    def block(self, walk, layer, tokens):
        walk.outputs[f"everything/{layer}/cls"] = tokens[:, 0]
        walk.statistics[f"everything/{layer}/norm"] = tokens.square().sum()
        return tokens

    def pool(self, walk, tokens, feature):
        cameras = walk.cameras.float()[:, None]
        return torch.cat([feature, self.gain * cameras.expand(-1, 2)], dim=1)

    def feature_width(self, tower, width):
        return width + 2

    def auxiliary(self, statistics):
        return {"size": sum(value for name, value in statistics.items() if name.startswith("everything/"))}


class Page(Method):
    name = "everything"

    def components(self, backbone):
        return {"everything": Everything()}


@pytest.fixture
def model(small_backbone):
    return Model(small_backbone, Page(BaseSettings()).tuner(small_backbone))


def batch(count=4):
    images = torch.randn(count, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    return Batch(images, cameras=torch.arange(count), labels=torch.zeros(count, dtype=torch.int64))


def test_the_batch_reaches_components_and_what_they_leave_reaches_the_objective(model):
    outputs = Page(BaseSettings()).encode(model, batch())
    assert outputs["image"].shape == (4, 26)
    assert outputs["image"][:, -1].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert outputs["everything/1/cls"].shape == (4, 32)
    assert f"{STATISTICS}everything/0/norm" in outputs
    assert torch.equal(model.encode(batch()), outputs["image"])


def test_statistics_of_parts_add_up_to_those_of_the_batch(model):
    whole = batch()
    page = Page(BaseSettings())
    halves = [Batch(whole.images[i : i + 2], whole.cameras[i : i + 2]) for i in (0, 2)]
    parts = [page.encode(model, half) for half in halves]
    for name, value in page.encode(model, whole).items():
        if name.startswith(STATISTICS):
            assert torch.allclose(parts[0][name] + parts[1][name], value, rtol=1e-5)
    found = {name.removeprefix(STATISTICS): v for name, v in parts[0].items() if name.startswith(STATISTICS)}
    assert set(model.tuner.auxiliary(found)) == {"everything/size"}


def test_the_features_width_is_the_tuners(model, small_backbone):
    assert model.tuner.feature_width(small_backbone.image) == 26
    assert Tuner().feature_width(small_backbone.image) == 24


def test_transient_tensors_stay_out_of_the_delta_and_survive_loading(model):
    assert set(model.tuner.tensors()) == {"everything.gain"}
    with torch.no_grad():
        model.tuner.everything.identities += 3
    model.tuner.load_tensors({"everything.gain": torch.tensor(2.0)})
    assert model.tuner.everything.gain == 2
    assert (model.tuner.everything.identities == 3).all()


def test_a_component_that_serves_no_site_is_a_mistake():
    class Misspelt(Component):
        def beside_mpl(self, walk, layer, tokens):
            return None

    with pytest.raises(ValueError, match="misspelt serves no site"):
        Tuner({"misspelt": Misspelt()})


def test_a_walk_belongs_to_the_tower_that_it_goes_through(small_backbone):
    walk = Walk(tower=small_backbone.text, cameras=torch.zeros(2, dtype=torch.int64))
    features = small_backbone.image(torch.randn(2, 3, 32, 16), Tuner({"everything": Everything()}), walk)
    assert features.shape[1] == 26
    assert walk.kind == "image"
