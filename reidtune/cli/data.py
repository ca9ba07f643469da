"""``reidtune data``: what a dataset is and what is wrong with it, before anyone trains. Needs no torch, but where
captions are counted in tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reidtune.cli.console import clean, note, print_json, stderr, stdout
from reidtune.cli.options import Columns, Json, Layout, Protocol, Quiet

EXAMPLES = (
    "reidtune data /data/Market-1501",
    "reidtune data lions/ --sheet data.png",
    "reidtune data photos.csv --column path=file --column identity=name --quick --json",
    "reidtune data /data/Market-1501 --data lions/",
    "reidtune data demo:multimodal",
)


def data(
    data: Annotated[str, typer.Argument(help="A folder, a CSV or JSONL table, or demo.", metavar="DATA")],
    more: Annotated[
        list[str] | None, typer.Option("--data", help="More data, each looked at for itself; repeatable.")
    ] = None,
    layout: Layout = None,
    columns: Columns = None,
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
    from reidtune.data.layouts.columns import parse_columns
    from reidtune.errors import DataError, SettingsError
    from reidtune.report.output import check_output, check_sheet, write_result
    from reidtune.report.progress import counting
    from reidtune.report.survey_tables import refusal, survey_report
    from reidtune.surveying import survey

    notes = stderr(quiet=quiet or as_json)
    if more and sheet is not None:
        raise SettingsError("--sheet draws one dataset.", "Leave --data out.")
    if output is not None:
        check_output(output, force)
    if sheet is not None:
        check_sheet(sheet)
    mapping = parse_columns(columns or ())
    results: list[dict[str, Any]] = []
    for source in (data, *(more or ())):
        with counting(notes, "Looking at files") as count:
            result = survey(source, layout, protocol, mapping, quick=quick, sheet=sheet, progress=count)
        if not as_json:
            if results:
                stdout().print()
            if more:
                stdout().print(f"[bold]{clean(result['data'])}[/]", soft_wrap=True)
            note(notes, result["sentence"])
            stdout().print(survey_report(result))
        results.append(result)
    final = results[0] if len(results) == 1 else {"schema": 1, "results": results}
    if output is not None:
        write_result(final, output)
    if as_json:
        print_json(final)
    bad = [result for result in results if result["verdict"]["errors"]]
    if bad:
        errors = [finding for result in bad for finding in result["findings"] if finding["level"] == "error"]
        hints = dict.fromkeys(finding["hint"] for finding in errors)
        raise DataError("\n".join(map(refusal, bad)), "\n".join(hints))
