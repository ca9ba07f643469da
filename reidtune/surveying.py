"""Looking at a dataset before anyone trains: what ``reidtune data`` prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reidtune.data.open import open_dataset
from reidtune.data.scan import show
from reidtune.data.survey import survey_dataset


def survey(
    source: str | Path,
    layout: str | None = None,
    protocol: str | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    quick: bool = False,
    sheet: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The object that ``reidtune data --json`` prints: what the dataset at ``source`` is, and what is wrong with it.

    ``source``, ``layout``, ``protocol`` and ``columns`` are those of :func:`reidtune.data.open_dataset`; ``quick`` and
    ``progress``, and what the object holds, are told at :func:`reidtune.data.survey.survey_dataset`. ``sheet`` is a
    picture file for :func:`reidtune.report.contact_sheet.contact_sheet`. Nothing else is written.

    Raises:
        DataError: there is no dataset; what is wrong with one that can be listed is among the ``findings`` instead.
        SettingsError: there is no such layout or protocol, or the protocol does not fit.
        ReidtuneError: the sheet cannot be written.
    """
    start = time.perf_counter()
    dataset = open_dataset(source, layout=layout, protocol=protocol, columns=columns)
    listed = round(time.perf_counter() - start, 3)
    result = survey_dataset(dataset, quick=quick, progress=progress)
    result["data"] = show(source)
    result["seconds"] = {"list": listed, **result["seconds"]}
    if sheet is not None:
        from reidtune.report.contact_sheet import contact_sheet
        from reidtune.report.pictures import save_picture

        save_picture(contact_sheet(dataset), sheet)
    return result
