"""Sheets of ranked lists of multi-modal data."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

import reidtune.report.ranked_lists
from reidtune.data import open_dataset
from reidtune.evaluation import evaluate_dataset
from reidtune.model import load
from reidtune.retrieval.shared import SharedGallery
from tests.missing.known import NAMES


def test_a_sheet_shows_every_modality_that_a_side_has(spectral_world, name, tmp_path):
    path = str(spectral_world)
    evaluate_dataset(path, backbone=name, sheet=tmp_path / "all.png")
    evaluate_dataset(
        path, backbone=name, sheet=tmp_path / "two.png", query_modalities=["rgb"], gallery_modalities=["nir"]
    )
    evaluate_dataset(path, backbone=name, sheet=tmp_path / "one.png", task="image")
    everything, two, one = (Image.open(tmp_path / f"{kind}.png") for kind in ("all", "two", "one"))
    assert everything.height - two.height == 3 * (96 + 2)
    assert one.height < 6 * (128 + 40)
    empty = sum(count for count, colour in two.getcolors(1 << 24) if colour == (238, 238, 238))
    assert empty > 20 * 96 * 40


def test_a_sheet_shows_what_was_ranked_first(spectral_world, name, opened, tmp_path, monkeypatch):
    """Also of leave-one-out without some queries, and where gallery samples lack different modalities."""
    dataset = open_dataset(spectral_world, protocol="leave-one-out")
    records = [
        record
        if place % 3
        else replace(record, images=record.images[place % 2 :][:1], modalities=NAMES[place % 2 :][:1])
        for place, record in enumerate(dataset.query)
    ]
    opened(replace(dataset, query=records, gallery=records))
    drawn = []

    def capture(rows, modalities):
        drawn.extend(rows)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr(reidtune.report.ranked_lists, "ranked_sheet", capture)
    result = evaluate_dataset("any", backbone=name, query_modalities=["nir"], sheet=tmp_path / "a.png")
    assert result["left_out"]["query"] > 0
    model = load(backbone=name, modalities=NAMES)

    def features(samples):
        return model.embed_samples(
            [{key: file.path for key, file in zip(one.modalities, one.images, strict=True)} for one in samples]
        )

    assert len(drawn) == 3
    for row in drawn:
        (own,) = (record for record in records if row.query.path in [image.path for image in record.images])
        scores = SharedGallery(features(records), 3).scores(features([row.query]))[0]
        order = [records[place] for place in scores.sort(descending=True, stable=True).indices.tolist()]
        best = [record for record in order if record is not own][:10]
        assert [one.path for one in row.results] == [one.path for one in best]
