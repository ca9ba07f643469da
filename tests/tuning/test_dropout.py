import torch

from reidtune.backbone.walk import Walk
from reidtune.tuning.dropout import row_dropout

SEEDS = Walk(seeds=torch.tensor([3, 1 << 62, 4]))


def test_a_mask_depends_on_the_rows_seed_and_the_place_alone():
    values = torch.ones(3, 50, 40)
    whole = row_dropout(values, 0.3, SEEDS, "here")
    assert torch.equal(row_dropout(values[1:2], 0.3, Walk(seeds=SEEDS.seeds[1:2]), "here")[0], whole[1])
    assert torch.equal(row_dropout(values, 0.3, SEEDS, "here"), whole)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(row_dropout(values, 0.3, SEEDS, "there"), whole)


def test_the_share_is_dropped_the_rest_scaled_and_entries_are_independent():
    values = torch.ones(3, 200, 200)
    for p in (0.1, 0.5, 0.9):
        dropped = row_dropout(values, p, SEEDS, "x")
        assert abs(float((dropped == 0).double().mean()) - p) < 0.005
        assert torch.allclose(dropped[dropped > 0], torch.tensor(1 / (1 - p)))
        kept = (dropped > 0).double() - (1 - p)
        for lag in ((kept[:, :, 1:] * kept[:, :, :-1]), (kept[:, 1:] * kept[:, :-1]), (kept[0] * kept[2])):
            assert abs(float(lag.mean())) < 0.005


def test_no_dropout_is_the_identity_and_no_seeds_is_ordinary_dropout():
    values = torch.randn(3, 4)
    assert row_dropout(values, 0.0, SEEDS, "x") is values
    torch.manual_seed(0)
    one = row_dropout(values, 0.5, Walk(), "x")
    torch.manual_seed(0)
    assert torch.equal(one, torch.nn.functional.dropout(values, 0.5))


def test_gradients_pass_where_values_do():
    values = torch.ones(3, 10, requires_grad=True)
    dropped = row_dropout(values, 0.5, SEEDS, "x")
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


def test_a_row_alone_has_the_mask_that_it_has_among_all():
    values = torch.ones(3, 50, 40)
    whole = row_dropout(values, 0.3, SEEDS, "here")
    kept = torch.tensor([0, 7, 49])
    alone = Walk(seeds=SEEDS.seeds, kept=kept)
    assert torch.equal(row_dropout(values[:, :1], 0.3, alone, "here")[:, 0], whole[torch.arange(3), kept])
    assert torch.equal(row_dropout(values, 0.3, alone, "here"), whole)  # where a site still gets all rows
