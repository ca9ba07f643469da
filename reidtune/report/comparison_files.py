"""The files of a comparison: JSON, CSV, a picture and a page, each written at once or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reidtune.report.comparison_cells import rows_for_csv
from reidtune.report.comparison_page import comparison_page
from reidtune.report.comparison_picture import comparison_picture
from reidtune.report.html import write_page
from reidtune.report.output import write_result
from reidtune.report.pictures import save_picture

JSON_FILE, CSV_FILE, PICTURE_FILE, PAGE_FILE = "compare.json", "compare.csv", "compare.png", "compare.html"


def write_comparison(content: Mapping[str, Any], folder: Path) -> None:
    """Write all files of a comparison, finished or not.

    Raises:
        ReidtuneError: one of them cannot be written.
    """
    write_result(dict(content), folder / JSON_FILE)
    head, rows = rows_for_csv(content)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    write_page(text.getvalue(), folder / CSV_FILE)
    save_picture(comparison_picture(content), folder / PICTURE_FILE)
    write_page(comparison_page(content), folder / PAGE_FILE)
