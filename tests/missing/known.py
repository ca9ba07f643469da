"""The same numbers from the public functions."""

from __future__ import annotations

from reidtune.retrieval.rank import rank

NAMES = ("rgb", "nir", "tir")


def reference(dataset, model, query=NAMES, gallery=NAMES, places="camera"):
    """The same from the public functions: samples to features, and their ranking."""

    def features(records, names):
        samples = [
            {name: image.path for name, image in zip(record.modalities, record.images, strict=True) if name in names}
            for record in records
        ]
        return model.embed_samples(samples)

    return rank(
        features(dataset.query, query),
        features(dataset.gallery, gallery),
        query_ids=[record.identity for record in dataset.query],
        gallery_ids=[record.identity for record in dataset.gallery],
        query_cameras=[getattr(record, places) for record in dataset.query],
        gallery_cameras=[getattr(record, places) for record in dataset.gallery],
        protocol=f"cross-{places}",
        pieces=len(model.modalities),
    )
