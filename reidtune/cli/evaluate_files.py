"""``reidtune evaluate --features``: ranking what is in files, with no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reidtune.cli.console import note, print_json, stderr, stdout
from reidtune.errors import SettingsError


def evaluate_files(
    features: list[Path],
    labels: list[Path],
    similarity: str | None,
    protocol: str | None,
    columns: dict[str, str],
    given: list[str],
    output: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    asked: dict[str, Any],
) -> None:
    """``evaluate --features``, with no model; ``given`` are arguments that are for evaluating one."""
    from reidtune.analysis import plan_analysis
    from reidtune.features import evaluate_features
    from reidtune.report.analysed import analysis_report
    from reidtune.report.output import check_output, write_result
    from reidtune.report.tables import metrics_table

    if given and features:
        raise SettingsError(f"--features stands alone, but {', '.join(given)} is given too.", "Leave one of them out.")
    if not (features and labels):
        raise SettingsError(
            "--features, --labels and --similarity are for features in files.",
            "Give both: --features query.npy gallery.npy --labels query.csv gallery.csv.",
        )
    if output is not None:
        check_output(output, force)
    analysis = plan_analysis(**asked)
    notes = stderr(quiet=quiet or as_json)
    result = evaluate_features(
        features,
        labels,
        protocol=protocol,
        similarity=similarity or "cosine",
        columns=columns,
        say=lambda words: note(notes, words),
        analysis=analysis,
    )
    if as_json:
        print_json(result)
    else:
        stdout().print(metrics_table([result]))
        if analysis is not None:
            stdout().print(analysis_report([result]))
    if output is not None:
        write_result(result, output)
