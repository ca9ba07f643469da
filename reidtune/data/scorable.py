"""Which queries can be scored, told from labels alone: the rules of the protocols without any features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reidtune.data.record import Record, identities

RANDOM_GALLERY = "random-gallery"
PLACES = {"cross-camera": "camera", "cross-scene": "scene"}


@dataclass(frozen=True)
class Scorable:
    """Of ``queries`` records (captions of text data), those without an image of their identity in the gallery
    (``absent``) and those whose every such image the protocol ignores (``ignored``); and the identities all of whose
    queries are ``ignored`` (``lost``), in order."""

    queries: int
    absent: Sequence[Record]
    ignored: Sequence[Record]
    lost: Sequence[int]

    @property
    def scored(self) -> int:
        return self.queries - len(self.absent) - len(self.ignored)


def scorable(query: Sequence[Record], gallery: Sequence[Record], protocol: str) -> Scorable:
    """Which of ``query`` have a positive in ``gallery`` that counts under ``protocol``, as
    :func:`reidtune.retrieval.rank.rank` decides it.

    ``cross-camera`` ignores images of the query's identity and camera, ``cross-scene`` of its identity and scene,
    ``leave-one-out`` the query alone; any other protocol ignores nothing. Under ``random-gallery`` each identity of
    several images has one query less than images, since one of them is the gallery; an only image has nothing to find.
    """
    place = PLACES.get(protocol)
    images = Counter(record.identity for record in gallery)
    there = Counter((record.identity, getattr(record, place)) for record in gallery) if place else Counter()
    itself = int(protocol in ("leave-one-out", RANDOM_GALLERY))
    absent: list[Record] = []
    ignored: list[Record] = []
    for record in query:
        positives = images[record.identity]
        if not positives:
            absent.append(record)
            continue
        gone = there[(record.identity, getattr(record, place))] if place else itself
        if positives == gone:
            ignored.append(record)
    lost = identities(ignored) - identities(_others(query, ignored))
    several = identities(query) - identities(ignored) - identities(absent) if protocol == RANDOM_GALLERY else ()
    return Scorable(len(query) - len(several), absent, ignored, sorted(lost))


def _others(records: Sequence[Record], some: Sequence[Record]) -> list[Record]:
    left_out = {id(record) for record in some}
    return [record for record in records if id(record) not in left_out]
