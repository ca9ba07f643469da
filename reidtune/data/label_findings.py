"""What the labels tell before any file is opened: splits, queries that cannot be scored, identities, modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reidtune.data.census import overlap
from reidtune.data.findings import ERROR, FACT, WARNING, Finding, below, counted, some
from reidtune.data.record import Dataset, Record, cameras, identities
from reidtune.data.scan import show
from reidtune.data.scorable import PLACES, Scorable, scorable
from reidtune.data.split import split_identities
from reidtune.errors import DataError


def scored_queries(dataset: Dataset) -> Scorable:
    """Which queries can be scored; of text data every caption is one."""
    queries = dataset.query
    if dataset.task == "text":
        queries = [record for record in dataset.query for _ in record.captions]
    return scorable(queries, dataset.gallery, dataset.protocol)


def label_findings(dataset: Dataset, captions: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Findings from labels and from ``captions``, the object of :func:`reidtune.data.caption_lengths.caption_lengths`.

    Identities of all splits are compared: the records of a dataset share one numbering, and a layout whose splits
    number theirs apart gives them different numbers.
    """
    yield from _training(dataset)
    yield from _test(dataset)
    yield from _overlaps(dataset)
    if captions is not None:
        yield from _captions(captions)
    if dataset.modalities:
        yield from _modalities(dataset)


def _training(dataset: Dataset) -> Iterator[Finding]:
    train = [record for record in dataset.train if record.identity > 0]
    people = identities(train)
    if not train:
        yield Finding(
            FACT,
            "no-training-split",
            0,
            "There is no training split: this data can only be evaluated on.",
            "To train, add a train folder, or rows of split train.",
        )
        return
    if len(people) < 2:
        yield Finding(
            ERROR,
            "one-training-identity",
            1,
            "The training split has one identity; two or more are needed.",
            "Add identities to the training split, or take it away and only evaluate.",
        )
        return
    if dataset.task == "text" and not any(record.captions for record in train):
        yield Finding(
            ERROR,
            "no-training-captions",
            len(train),
            "No training image has a caption.",
            "Give the training images captions; text and image cannot be matched without.",
        )
    if not dataset.validation:
        needed = 1 if dataset.task == "text" else 2
        try:
            split_identities(train, 0.5, 0, images_needed=needed, protocol=dataset.protocol)
        except DataError as error:
            yield Finding(
                WARNING,
                "no-validation",
                len(people),
                error.message,
                "Train with --set data.validation_fraction=0, which takes the last epoch, or add identities.",
            )
    if dataset.task != "text":
        yield from _alone(train, dataset.identity_names)


def _alone(train: Sequence[Record], names: Mapping[int, str]) -> Iterator[Finding]:
    groups: dict[int, list[Record]] = {}
    for record in train:
        groups.setdefault(record.identity, []).append(record)
    single = sorted(identity for identity, group in groups.items() if len(group) == 1)
    if single:
        yield Finding(
            WARNING if 2 * len(single) > len(groups) else FACT,
            "single-images",
            len(single),
            f"{counted(len(single), 'training identity has', 'training identities have')} a single image: nothing to "
            "be pulled together.",
            "Where these are many, add images of them or leave them out.",
            _named(single, names),
        )
    if len(cameras(train)) > 1:
        one = sorted(identity for identity, group in groups.items() if len(cameras(group)) == 1 and len(group) > 1)
        if one:
            yield Finding(
                WARNING if 2 * len(one) > len(groups) else FACT,
                "one-camera",
                len(one),
                f"{counted(len(one), 'training identity is', 'training identities are')} seen by one camera only and "
                f"{'teaches' if len(one) == 1 else 'teach'} nothing about a change of camera.",
                "",
                _named(one, names),
            )


def _test(dataset: Dataset) -> Iterator[Finding]:
    if not dataset.query:
        yield Finding(
            FACT,
            "no-test-split",
            0,
            "There is no test split: this data can only be trained on.",
            "To evaluate, add a test folder (or query and gallery), or rows of such a split.",
        )
        return
    found = scored_queries(dataset)
    one, many = ("caption", "captions") if dataset.task == "text" else ("query", "queries")
    place = PLACES.get(dataset.protocol, "")
    if not found.scored:
        why = "no gallery image shows their identities"
        hint = "Check that query and gallery are of one test split, and that identities are named alike in both."
        if found.ignored and place:
            other = "leave-one-out" if dataset.query is dataset.gallery else "all"
            why = f"all gallery images of their identities are from their own {place} ({dataset.protocol})"
            hint = f"Add images from other {place}s, or use --protocol {other}."
        elif found.ignored:
            why, hint = "each identity has one image", "Add a second image of each identity."
        number = counted(found.queries, one, many)
        sentence = (
            f"None of the {number} of the test split can be scored: {why}."
            if found.queries
            else "No test image has a caption to look for it."
        )
        yield Finding(ERROR, "nothing-scored", found.queries, sentence, hint)
        return
    if found.absent:
        yield Finding(
            WARNING,
            "absent-queries",
            len(found.absent),
            f"{counted(len(found.absent), one, many)} of {found.queries:,} cannot be scored: no gallery image shows "
            "the identity. Evaluation skips and counts them.",
            "Check that the gallery is complete.",
            _paths(found.absent, dataset),
        )
    if found.ignored:
        rule = f"are all from the query's own {place}" if place else "are none but the query itself"
        lost = ""
        if found.lost:
            lost = f" {counted(len(found.lost), 'identity loses', 'identities lose')} every positive this way."
        yield Finding(
            WARNING,
            "ignored-queries",
            len(found.ignored),
            f"{counted(len(found.ignored), one, many)} of {found.queries:,} cannot be scored: the gallery images of "
            f"the identity {rule} ({dataset.protocol}).{lost}",
            f"Add images from other {place}s, or take these queries out."
            if place
            else "Add a second image of each, or take them out.",
            _paths(found.ignored, dataset),
        )


def _overlaps(dataset: Dataset) -> Iterator[Finding]:
    names = dataset.identity_names
    test = [*dataset.query, *dataset.gallery]
    sides = (
        ("train-test-identities", dataset.train, test, "training and in the test split"),
        ("train-val-identities", dataset.train, dataset.validation, "training and in validation"),
        ("val-test-identities", dataset.validation, test, "validation and in the test split"),
    )
    for kind, one, other, where in sides:
        both = overlap(one, other)
        if both:
            yield Finding(
                WARNING,
                kind,
                len(both),
                f"{counted(len(both), 'identity is', 'identities are')} in {where}: the numbers will not tell how "
                "well strangers are found.",
                "Move each identity to one side. If each split counts its identities anew, the same number means "
                "different ones: rename them, so that the labels say so.",
                _named(both, names),
            )


def _captions(captions: Mapping[str, Any]) -> Iterator[Finding]:
    if captions["bare"]:
        yield Finding(
            WARNING,
            "bare-images",
            captions["bare"],
            f"{counted(captions['bare'], 'image has', 'images have')} no caption: not learned from, and no query.",
            "Write captions for them, or leave them out.",
        )
    if captions["long"]:
        guess = captions["counted_in"] == "words"
        rule = "more than 62 words, which is usually more than 77 tokens" if guess else "more than 77 tokens"
        yield Finding(
            WARNING,
            "long-captions",
            captions["long"],
            f"{counted(captions['long'], 'caption has', 'captions have')} {rule}: what stands behind is not read.",
            "Shorten them, or say what matters first.",
            [show(caption)[:80] + "…" for caption in captions["long_examples"]],
        )
    if captions["shared"]:
        yield Finding(
            WARNING,
            "shared-captions",
            captions["shared"],
            f"{counted(captions['shared'], 'caption describes', 'captions describe')} several identities word for "
            "word: no ranking can be right for all of them.",
            "Make them say what differs.",
        )


def _modalities(dataset: Dataset) -> Iterator[Finding]:
    everything = list({id(record): record for record in (*dataset.train, *dataset.query, *dataset.gallery)}.values())
    lacking = [record for record in everything if len(record.images) < len(dataset.modalities)]
    if lacking:
        parts = [(name, sum(name not in record.modalities for record in lacking)) for name in dataset.modalities]
        told = ", ".join(f"{name} {number:,}" for name, number in parts if number)
        yield Finding(
            FACT,
            "missing-modalities",
            len(lacking),
            f"{counted(len(lacking), 'sample lacks', 'samples lack')} a modality, of {len(everything):,} ({told}).",
            "--set augmentation.drop_modality=0.2 trains for it.",
            _paths(lacking, dataset),
        )


def _paths(records: Sequence[Record], dataset: Dataset) -> list[str]:
    return some(dict.fromkeys(below(record.path, dataset.root) for record in records))


def _named(people: Sequence[int], names: Mapping[int, str]) -> list[str]:
    return some(f"identity {names.get(identity, identity)}" for identity in people)
