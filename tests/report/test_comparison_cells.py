"""The words of a comparison: cells, notes, CSV."""

import pytest

from reidtune.report.comparison_cells import (
    COSTS,
    MARK,
    also_of,
    budget_of,
    cells_of,
    cost_text,
    headings_of,
    notes_of,
    rows_for_csv,
    spread,
)
from tests.report.compared import compared


def test_a_row_for_each_by_falling_map_and_the_baseline_first():
    cells = cells_of(compared())
    assert all(len(row) == len(headings_of(compared())) for row in cells)
    assert [row[0] for row in cells] == ["zero-shot", "adapter", "lora", "vpt"]
    assert cells[0][1:4] == ["30.0", "–", "35.0"]
    assert cells[1][1:] == ["49.0 ± 1.4", "+19.0", "54.0 ± 1.4", "32,768*", "150 kB*", "1.2 MB*", "80.0*"]
    assert cells[2][1:] == ["42.0 ± 2.8", "+12.0", "47.0 ± 2.8", "16,384*", "75.0 kB*", "2.4 MB ", "160*"]
    assert cells[3][4:] == ["49,152 ", "225 kB ", "800 kB*", "53.3 "]


def test_one_seed_has_no_deviation():
    cells = cells_of(compared({"lora": (0.4,)}, seeds=(7,)))
    assert cells[1][1:4] == ["40.0", "+10.0", "45.0"]
    assert "seed 7 alone" in notes_of(compared({"lora": (0.4,)}, seeds=(7,)))[1]


def test_a_loss_has_its_sign():
    assert cells_of(compared({"lora": (0.25, 0.25)}))[1][2] == "-5.0"
    assert cells_of(compared({"lora": (0.2999, 0.2999)}))[1][2] == "+0.0"


def test_failed_and_missing_rows_are_told():
    content = compared(failed=("vpt",), waiting=("lora",))
    assert [row[0] for row in cells_of(content)] == ["zero-shot", "adapter", "lora (not yet)", "vpt (failed)"]
    assert cells_of(content)[3][1:4] == ["–", "–", "–"]
    notes = notes_of(content)
    assert "vpt failed with seeds 1 and 2: The loss became nan. Lower it." in notes
    assert "2 of 6 runs are not done yet." in notes


def test_a_row_of_some_seeds_says_how_many():
    content = compared()
    content["rows"][0]["seeds"] = [1]
    assert cells_of(content)[1][0] == "adapter (1 of 2 seeds)"


@pytest.mark.parametrize(
    ("budget", "size", "sentence"),
    [
        ({"epochs": 2, "steps": [10, 12], "batch_size": 32, "from": "lora"}, None,
         "Budget of every row: 2 epochs (10 to 12 steps), batches of 32, as in the recipe of lora."),
        ({"epochs": 1, "steps": [10, 10], "batch_size": 64, "from": "flags"}, (256, 128),
         "Budget of every row: 1 epoch (10 steps), batches of 64 at 256×128 pixels."),
        ({"epochs": None, "steps": [1500, 1500], "batch_size": 8, "from": "flags"}, None,
         "Budget of every row: 1,500 steps, batches of 8."),
        ({"epochs": 3, "steps": [], "batch_size": 8, "from": "flags"}, None,
         "Budget of every row: 3 epochs, batches of 8."),
    ],
)  # fmt: skip
def test_the_budget_is_said(budget, size, sentence):
    content = compared(budget=budget, image_size=size)
    assert budget_of(content) == notes_of(content)[0] == sentence


def test_notes_say_how_the_numbers_were_obtained():
    notes = " ".join(notes_of(compared(set_aside={"vpt": {"training.epochs": 15, "training.steps": None}})))
    assert "mAP and rank-1 on the test split, mean ± standard deviation over 2 seeds; gain is over zero-shot." in notes
    assert "market1501, cross-camera: 17 queries." in notes
    assert "keeps for an image, counted" in notes
    assert "measured on this machine (cpu, 1 thread)" in notes
    assert "vpt: its recipe has training.epochs 15 and training.steps auto, which gave way" in notes


def test_notes_say_only_what_the_table_shows():
    assert "deviation over 2 seeds; gain" in " ".join(notes_of(compared()))
    content = compared()
    content["rows"][0]["seeds"] = [1]
    assert "deviation over 2 seeds, or those that a row names; gain" in " ".join(notes_of(content))
    assert "images/s" not in " ".join(notes_of(compared(failed=("lora", "adapter", "vpt"))))
    beaten = compared({"lora": (0.1, 0.1), "vpt": (0.2, 0.2)})  # by the backbone alone
    assert all(not row["front"] for row in beaten["rows"])
    assert "Pareto" not in " ".join(notes_of(beaten)) and "Kept: what autograd keeps" in " ".join(notes_of(beaten))


def test_text_data_says_which_ranking():
    content = compared(task="text")
    notes = notes_of(content)
    assert headings_of(content)[-1] == "pairs/s" and headings_of(compared())[-1] == "images/s"
    assert notes[1].startswith("mAP and rank-1 of text to image on the test split")
    assert "keeps for a pair" in notes[3] and "pairs a second of training" in notes[3]


def test_speeds_of_several_machines_are_not_to_be_compared():
    content = compared()
    content["runs"][0]["threads"] = 2
    assert "not to be compared, since measured on cpu, 2 threads and cpu, 1 thread" in " ".join(notes_of(content))


def test_further_datasets():
    assert also_of(compared()) == []
    [(name, lines, obtained)] = also_of(compared(names=("world", "other"), waiting=("vpt",)))
    assert name == "other"
    assert lines == [
        ["zero-shot", "40.0", "45.0"],
        ["adapter", "59.0 ± 1.4", "64.0 ± 1.4"],
        ["lora", "52.0 ± 2.8", "57.0 ± 2.8"],
        ["vpt", "–", "–"],
    ]
    assert obtained.startswith("market1501")


def test_csv_has_fractions_and_every_row():
    head, rows = rows_for_csv(compared(failed=("vpt",)))
    table = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["name"] for row in table] == ["zero-shot", "adapter", "lora", "vpt"]
    assert table[0] | {"mAP": 0.3, "rank-1": 0.35, "parameters": ""} == table[0]
    assert table[1]["mAP"] == pytest.approx(0.49)
    assert table[1]["mAP_deviation"] == pytest.approx(0.0002**0.5)
    assert table[1]["gain"] == pytest.approx(0.19)
    assert table[1]["validation_mAP"] == pytest.approx(0.59)
    assert [table[2][cost] for cost in COSTS] == [16384, 75_000, 2_400_000, 160.0]
    assert table[2]["front"] == "parameters bytes images_per_second"
    assert table[3]["mAP"] == "" and table[3]["parameters"] == 49152


def test_numbers_of_all_sizes():
    assert cost_text({"images_per_second": 99.4}, "images_per_second") == "99.4"
    assert cost_text({"images_per_second": 1234.5}, "images_per_second") == "1,234"
    assert cost_text({"bytes": None}, "bytes") == "–"
    assert spread({"mean": 0.5, "deviation": 0.0}) == "50.0 ± 0.0"
    assert MARK == "*"
