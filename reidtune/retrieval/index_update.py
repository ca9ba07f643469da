"""What has to be embedded: the entries of a folder against those of its earlier index."""

from __future__ import annotations

import numpy as np

from reidtune.retrieval.entries import Entries
from reidtune.retrieval.index_file import IndexData


class Update:
    """The entries of a folder, their rows in the earlier index, and what has been embedded since.

    ``new``, ``changed`` and ``deleted`` count entries; an entry has changed where one of its files has. ``differs``:
    the earlier index is not that of these entries.
    """

    def __init__(self, entries: Entries, known: IndexData | None, width: int) -> None:
        self.names, self.files, self.stamps = entries.names, entries.files, entries.stamps
        self.readable = np.zeros(self.stamps.shape[:2], dtype=bool)
        self.done = np.zeros(len(self.names), dtype=bool)
        self.embedded = self.new = self.changed = self.deleted = 0
        self.differs = True
        if known is not None and known.names == self.names and np.array_equal(known.stamps, self.stamps):
            self.features, self.readable = known.features, known.readable
            self.done[:] = True
            self.differs = False
            return
        self.features = np.zeros((len(self.names), width), dtype=np.float32)
        if known is None or not known.names:
            self.new = len(self.names)
            return
        rows = {name: row for row, name in enumerate(known.names)}
        old = np.array([rows.get(name, -1) for name in self.names], dtype=np.int64)
        there = old >= 0
        same = known.stamps[old] == self.stamps
        # Permission to read a file changes its own time alone, so that decides for those that could not be read.
        kept = same[..., 0] & same[..., 1] & (same[..., 2] | known.readable[old])
        self.done = there & kept.all(axis=1)
        self.features[self.done] = known.features[old[self.done]]
        self.readable[self.done] = known.readable[old[self.done]]
        self.new = int((~there).sum())
        self.changed = int((there & ~self.done).sum())
        self.deleted = len(known.names) - int(there.sum())

    def todo(self) -> list[int]:
        places: list[int] = np.flatnonzero(~self.done).tolist()
        return places

    def data(self) -> IndexData:
        """What is done so far."""
        if self.done.all():
            return IndexData(self.names, self.stamps, self.readable, self.features)
        rows = np.flatnonzero(self.done)
        names = [self.names[row] for row in rows]
        return IndexData(names, self.stamps[rows], self.readable[rows], self.features[rows])

    def unreadable(self) -> list[str]:
        """The files that cannot be read as images, by name."""
        return [
            file
            for files, good in zip(self.files, self.readable.tolist(), strict=True)
            for file, known in zip(files, good, strict=True)
            if file is not None and not known
        ]
