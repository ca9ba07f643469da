"""``reidtune evaluate``: rank-1 and mAP of a delta, or of a backbone alone, on images or on images and captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reidtune.cli.console import note, print_json, stderr, stdout
from reidtune.cli.evaluate_files import evaluate_files
from reidtune.cli.options import (
    Activation,
    Backbone,
    Cameras,
    Columns,
    Device,
    ImageSize,
    Json,
    Layout,
    Modalities,
    Pretrained,
    Protocol,
    Quiet,
)
from reidtune.cli.several import taking_several
from reidtune.errors import ReidtuneError, SettingsError

EXAMPLES = (
    "reidtune evaluate demo",
    "reidtune evaluate demo --delta none --delta runs/lora-demo",
    "reidtune evaluate demo --delta runs/lora-demo --sheet lists.png",
    "reidtune evaluate Market-1501 --data MSMT17 --delta market --delta msmt17",
    "reidtune evaluate demo:text --sheet captions.png",
    "reidtune evaluate demo:multimodal --matrix",
    "reidtune evaluate /data/RGBNT201 --delta runs/dmpt --query-modalities rgb,nir --gallery-modalities tir",
    "reidtune evaluate /data/Market-1501 --delta market.safetensors --json",
    "reidtune evaluate demo --decisions --intervals",
    "reidtune evaluate demo --expand alpha-qe:k=3 --rerank",
    "reidtune evaluate /data/Market-1501 --backbone ViT-B-16 --pretrained openai --image-size 256x128",
    "reidtune evaluate --features query.npy gallery.npy --labels query.csv gallery.csv",
)
COMMAND = taking_several("--features", "--labels")
SAMPLES, FILES, AFTER = "Samples of several modalities", "Features in files", "After the plain ranking"


def evaluate(
    data: Annotated[str | None, typer.Argument(help="A folder, a CSV or JSONL table, or demo.", metavar="DATA")] = None,
    delta: Annotated[
        list[Path] | None, typer.Option(help="Delta file or run folder, or none: the backbone alone; repeatable.")
    ] = None,
    more: Annotated[
        list[str] | None, typer.Option("--data", help="More data; every delta is evaluated on each; repeatable.")
    ] = None,
    backbone: Backbone = None,
    pretrained: Pretrained = None,
    activation: Activation = None,
    image_size: ImageSize = None,
    layout: Layout = None,
    columns: Columns = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="image: of text data the images alone, of multi-modal data one modality. Default: the data's."
        ),
    ] = None,
    protocol: Protocol = None,
    modalities: Modalities = None,
    query_modalities: Annotated[
        str | None, typer.Option(help="The same of the queries alone.", rich_help_panel=SAMPLES)
    ] = None,
    gallery_modalities: Annotated[
        str | None, typer.Option(help="The same of the gallery alone.", rich_help_panel=SAMPLES)
    ] = None,
    cameras: Cameras = None,
    matrix: Annotated[
        bool,
        typer.Option(
            "--matrix", help="Print also every subset of the modalities against every other.", rich_help_panel=SAMPLES
        ),
    ] = False,
    features: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instead of DATA and a model: features in .npy or .safetensors files, of query and gallery or of both "
            "in one.",
            metavar="FILE [FILE]",
            rich_help_panel=FILES,
        ),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            help="A CSV or JSONL table for each file of features, a row for each feature: identity, and where known "
            "camera, scene and split.",
            metavar="FILE [FILE]",
            rich_help_panel=FILES,
        ),
    ] = None,
    similarity: Annotated[
        str | None,
        typer.Option(
            help="Of --features: cosine (the default) or euclidean, of them as they are.", rich_help_panel=FILES
        ),
    ] = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Re-rank by mutual neighbours (k-reciprocal).", rich_help_panel=AFTER)
    ] = False,
    rerank_with: Annotated[
        str | None,
        typer.Option(
            help="Re-rank with settings as in k1=30,k2=8 (and lambda). Default: 20, 6, 0.3.", rich_help_panel=AFTER
        ),
    ] = None,
    expand: Annotated[
        str | None,
        typer.Option(
            help="Expand queries by their nearest images: aqe or alpha-qe, as in aqe:k=10 (and alpha, side=both).",
            rich_help_panel=AFTER,
        ),
    ] = None,
    camera_means: Annotated[
        bool,
        typer.Option(
            "--camera-means", help="Subtract the mean feature of each camera of the test split.", rich_help_panel=AFTER
        ),
    ] = False,
    decisions: Annotated[
        bool,
        typer.Option(
            "--decisions", help="Print ROC, equal error rate, a threshold and open-set rates.", rich_help_panel=AFTER
        ),
    ] = False,
    at_fpr: Annotated[
        float | None,
        typer.Option(
            help="Of --decisions: the false positive rate of the threshold. Default: 0.001.", rich_help_panel=AFTER
        ),
    ] = None,
    intervals: Annotated[
        bool,
        typer.Option(
            "--intervals",
            help="Print 95 % intervals of the metrics, by drawing identities again.",
            rich_help_panel=AFTER,
        ),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images (or captions) a batch.")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read images; default: by the device and its cores.")
    ] = None,
    device: Device = "auto",
    cache: Annotated[
        bool, typer.Option(" /--no-cache", help="Compute all features anew; else those of unchanged files are kept.")
    ] = True,
    output: Annotated[Path | None, typer.Option(help="Write the JSON here as well.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw ranked lists of the last delta to this PNG.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the --output file where it exists.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank the test split and print rank-1, mAP and mINP; of text data both from captions to images and back.

    With a delta, its own backbone and preprocessing are used, and the result is kept beside the delta.

    With --features, features that any model made are ranked in the same way, and nothing else is needed.
    """
    from reidtune.data.layouts.columns import parse_columns

    mapping = parse_columns(columns or ())
    asked: dict[str, Any] = {
        "camera_means": camera_means,
        "expand": expand,
        "rerank": rerank,
        "rerank_with": rerank_with,
        "decisions": decisions,
        "at_fpr": at_fpr,
        "intervals": intervals,
    }
    if features is not None or labels is not None or similarity is not None:
        without = {
            "DATA": data,
            "--data": more,
            "--delta": delta,
            "--backbone": backbone,
            "--pretrained": pretrained,
            "--activation": activation,
            "--image-size": image_size,
            "--layout": layout,
            "--task": task,
            "--modalities": modalities,
            "--query-modalities": query_modalities,
            "--gallery-modalities": gallery_modalities,
            "--cameras": cameras,
            "--matrix": matrix or None,
            "--sheet": sheet,
        }
        given = [name for name, value in without.items() if value is not None]
        evaluate_files(
            features or [], labels or [], similarity, protocol, mapping, given, output, force, as_json, quiet, asked
        )
        return
    if data is None:
        raise SettingsError("DATA is missing.", "Give a folder, a table or demo, or --features and --labels.")
    from reidtune.analysis import plan_analysis
    from reidtune.crossing import evaluate_all
    from reidtune.evaluation import result_beside
    from reidtune.report.analysed import analysis_report
    from reidtune.report.crossing_tables import crossing_tables
    from reidtune.report.matrix import matrix_tables
    from reidtune.report.output import check_output, check_sheet, write_result
    from reidtune.report.progress import counting
    from reidtune.report.tables import metrics_table

    analysis = plan_analysis(**asked, matrix=matrix)
    notes = stderr(quiet=quiet or as_json)
    results: list[dict[str, Any]] = []
    own: dict[Path, list[dict[str, Any]]] = {}
    said: set[str] = set()

    def say(sentence: str) -> None:
        if sentence not in said:
            note(notes, sentence)
        said.add(sentence)

    if output is not None:
        check_output(output, force)
    if sheet is not None:
        check_sheet(sheet)
    paths = [None if str(path) == "none" else path for path in delta or [Path("none")]]
    sources = [data, *(more or [])]
    with counting(notes, "Embedding") as count:
        for path, result in evaluate_all(
            sources,
            paths,
            backbone=backbone,
            pretrained=pretrained,
            activation=activation,
            image_size=image_size,
            layout=layout,
            columns=mapping,
            task=task,
            protocol=protocol,
            modalities=_words(modalities),
            query_modalities=_words(query_modalities),
            gallery_modalities=_words(gallery_modalities),
            matrix=matrix,
            batch_size=batch_size,
            workers=workers,
            device=device,
            say=say,
            progress=count,
            sheet=sheet,
            cache=cache,
            cameras=cameras,
            analysis=analysis,
        ):
            results.append(result)
            if path is not None:
                own.setdefault(path, []).append(result)
                try:
                    write_result(_one_or_all(own[path]), result_beside(path))
                except ReidtuneError as error:  # a read-only folder of shared deltas is no reason to lose the numbers
                    note(stderr(quiet=quiet), error.message)  # also with --json
    final = _one_or_all(results)
    if as_json:
        print_json(final)
    else:
        stdout().print(metrics_table(results) if len(sources) == 1 else crossing_tables(results, len(sources)))
        if analysis is not None:
            stdout().print(analysis_report(results, len(sources)))
        if matrix:
            stdout().print(matrix_tables(results))
    if output is not None:
        write_result(final, output)


def _one_or_all(results: list[dict[str, Any]]) -> dict[str, Any]:
    return results[0] if len(results) == 1 else {"schema": 1, "results": results}


def _words(text: str | None) -> list[str] | None:
    """``rgb,nir`` as a list; spaces around a word do not count."""
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]
