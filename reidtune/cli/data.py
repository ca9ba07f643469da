"""``reidtune data``: what a dataset is and what is wrong with it, before anyone trains. Needs no torch, but where
captions are counted in tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reidtune.cli.console import note, print_json, stderr, stdout
from reidtune.cli.options import Json, Layout, Protocol, Quiet

EXAMPLES = (
    "reidtune data /data/Market-1501",
    "reidtune data lions/ --sheet data.png",
    "reidtune data photos.csv --quick --json",
    "reidtune data demo:multimodal",
)


def data(
    data: Annotated[str, typer.Argument(help="A folder, a CSV or JSONL table, or demo.", metavar="DATA")],
    layout: Layout = None,
    protocol: Protocol = None,
    quick: Annotated[bool, typer.Option("--quick", help="Labels, headers and copies only; decode nothing.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Draw some identities, a row each, to this PNG.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the JSON here as well.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the --output file where it exists.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a dataset is and what is wrong with it: broken files, copies, near-duplicates across the splits, queries
    that cannot be scored, and more.

    Nothing in the dataset is changed. Leaves with 4 where a split that is there can not be trained on or evaluated.
    """
    from reidtune.errors import DataError
    from reidtune.report.output import check_output, check_sheet, write_result
    from reidtune.report.progress import counting
    from reidtune.report.survey_tables import refusal, survey_report
    from reidtune.surveying import survey

    notes = stderr(quiet=quiet or as_json)
    if output is not None:
        check_output(output, force)
    if sheet is not None:
        check_sheet(sheet)
    with counting(notes, "Looking at files") as count:
        result = survey(data, layout, protocol, quick=quick, sheet=sheet, progress=count)
    if output is not None:
        write_result(result, output)
    if as_json:
        print_json(result)
    else:
        note(notes, result["sentence"])
        stdout().print(survey_report(result))
    if result["verdict"]["errors"]:
        hints = [finding["hint"] for finding in result["findings"] if finding["level"] == "error"]
        raise DataError(refusal(result), "\n".join(hints))
