"""A batch over several processes: the loss and every gradient of one process, whichever method, however many rows."""

import pytest
import torch
from torch import nn

from reidtune.backbone.load import load_backbone
from reidtune.config import LossSection
from reidtune.data.batch import Batch
from reidtune.losses.objective import SHARED, STATISTICS
from reidtune.team import ALONE
from reidtune.training.step import forward
from tests.training.processes import several
from tests.training.test_step import TEXT, case, gradients

PROCESSES = 2
CASES = {
    "lora": ({"dropout": 0.3}, "image", LossSection()),
    "clip-reid": ({"tune": "lora"}, "image", LossSection()),  # leaves a constant and two features
    "dm-adapter": ({}, "text", TEXT),  # leaves statistics
    "coop": ({}, "text", TEXT),  # nothing of the image tower is trained
    "dmpt": ({}, "multimodal", LossSection(modality=1.0)),
}
ROWS = [(7, None), (7, 2), (2, None)]  # samples, and how many at once; of 2 one process has both, the other none


def first(batch: Batch, rows: slice) -> Batch:
    return Batch(*(None if part is None else part[rows] for part in vars(batch).values()))


def work(team) -> dict:
    found = {}
    backbone = load_backbone("tiny")
    for name, chosen in CASES.items():
        model, objective, batch, encode = case(backbone, name, *chosen)
        modules = (model.tuner, objective)
        exchange = team.exchange(*modules)
        for rows, parts_of in ROWS:
            for module in modules:
                module.zero_grad(set_to_none=True)
            share = team.share(rows) if rows > 2 else slice(0, 2 * team.writes)
            own = first(batch, share)
            done = forward(encode, objective, own, parts_of=parts_of, exchange=exchange)
            done.backward()
            state = {key: value.clone() for key, value in objective.state_dict().items()}
            found[name, rows, parts_of] = done.loss.detach(), dict(done.parts), gradients(modules), state
    odd = Sometimes()
    exchange = team.exchange(odd, nn.Module())
    for step in range(4):
        odd.zero_grad(set_to_none=True)
        rows = torch.arange(5.0)[:, None] + step
        batch = first(Batch(rows, labels=torch.arange(5)), team.share(5))
        done = forward(odd.encode, sum_of, batch, parts_of=[None, 1][step % 2], exchange=exchange)
        done.backward()
        found["odd", step, None] = done.loss.detach(), {}, gradients([odd]), {}
    return found


class Sometimes(nn.Module):
    """Uses one tensor for even numbers only, one never, and one for an output without a gradient."""

    def __init__(self):
        super().__init__()
        self.always, self.even, self.never, self.aside = (nn.Parameter(torch.ones(3)) for _ in range(4))

    def encode(self, batch, place):
        even = (batch.images.long() % 2 == 0).flatten()
        rows = batch.images * self.always
        if even.any():
            rows = rows + even[:, None] * self.even
        return {
            "image": rows,
            "aside": batch.images * self.aside,
            f"{STATISTICS}total": (batch.images * self.always).sum(),
            f"{STATISTICS}unused": self.aside.sum(),
            f"{SHARED}constant": torch.tensor(2.0),
            "present": even,
        }


def sum_of(outputs, labels):
    weight = labels[:, None] + outputs["present"][:, None]
    return (outputs["image"] * weight).sum() * outputs[f"{SHARED}constant"] + outputs[f"{STATISTICS}total"] ** 2, {}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return several(PROCESSES, work, tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def alone():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the others have it: how sums are split over threads moves the last bits
    try:
        return work(ALONE)
    finally:
        torch.set_num_threads(before)


def close(value, expected, rows):
    tolerance = 1e-5 if rows > 2 else 1e-2  # batch statistics of two samples hang on small differences
    if value.numel() == 1:
        tolerance = max(tolerance, 1e-4)  # one sum over all tokens, much of which cancels
    return (value - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-3)


@pytest.mark.parametrize("name", [*CASES, "odd"])
def test_processes_find_the_loss_and_the_gradients_of_one(found, alone, name):
    keys = [key for key in alone if key[0] == name]
    assert keys
    for key in keys:
        loss, parts, grads, state = alone[key]
        rows = key[1] if name in CASES else 5
        for rank, one in enumerate(found):
            theirs, their_parts, their_grads, their_state = one[key]
            assert close(theirs, loss, rows), (key, rank)
            assert list(their_parts) == list(parts)
            for tensor, value in grads.items():
                assert (their_grads[tensor] is None) == (value is None), (key, rank, tensor)
                if value is not None:
                    assert close(their_grads[tensor], value, rows), (key, rank, tensor)
            for tensor, value in state.items():
                assert close(their_state[tensor].float(), value.float(), rows), (key, rank, tensor)
        assert any(value is not None and value.abs().max() > 0 for value in grads.values()), key


def test_all_processes_have_the_same_bits(found):
    first, *others = found
    for other in others:
        for key, (loss, _, grads, state) in first.items():
            assert torch.equal(other[key][0], loss)
            for tensor, value in {**grads, **state}.items():
                theirs = {**other[key][2], **other[key][3]}[tensor]
                assert value is None or torch.equal(theirs, value), (key, tensor)


def test_a_tensor_that_no_process_used_has_no_gradient(found):
    grads = found[0]["odd", 0, None][2]
    assert grads["0.never"] is None
    assert grads["0.aside"] is None
    assert grads["0.even"] is not None
