"""Features of images or of the lines of a text file, to a file: what ``reidtune embed`` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reidtune.camera_names import by_name
from reidtune.cameras import choose_use, use_sentence
from reidtune.data import check_files
from reidtune.data.reading import reading
from reidtune.data.scan import show
from reidtune.data.workers import choose_workers
from reidtune.delta import find_delta, read_header
from reidtune.devices import choose_device
from reidtune.embedding_rows import Rows, lists_of, rows_of
from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.model import Model, default_backbone, load
from reidtune.retrieval.embed import embed_batches, embed_texts
from reidtune.retrieval.features_file import FeatureWriter, check_target
from reidtune.training.stop import Interrupted, StopRequest, stop_signals

Say = Callable[[str], None]
Count = Callable[[int, int], None]
EXAMPLES = 5  # broken images that are named in a sentence
_TEXTS = 65_536  # lines written at a time


def embed_to_file(
    source: str | Path | None,
    output: Path,
    delta: Path | None = None,
    *,
    text: Path | None = None,
    backbone: str | None = None,
    pretrained: str | None = None,
    activation: str | None = None,
    image_size: str | None = None,
    layout: str | None = None,
    columns: Mapping[str, str] | None = None,
    splits: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    modality: str | None = None,
    batch_size: int = 64,
    workers: int | None = 0,
    device: str = "auto",
    cameras: str | None = None,
    skip_broken: bool = False,
    force: bool = False,
    say: Say = lambda sentence: None,
    progress: Count | None = None,
) -> dict[str, Any]:
    """Write the features of every image (or sample of several modalities) of ``source``, or of every line of the file
    ``text``, L2-normalised float32 [N, D], to ``output`` (``.npy``) and what they are of to a ``.csv`` of the same
    name. Returns the object that ``embed --json`` prints.

    For ``source``, ``layout``, ``columns``, ``splits``, ``modalities`` and ``modality`` see
    :func:`reidtune.embedding_rows.rows_of`. Features of a dataset's test split are those that
    :func:`reidtune.evaluation.evaluate_dataset` ranks, bit for bit, at the same ``batch_size`` and without its cache.
    With ``skip_broken``, images that cannot be read are left out. ``cameras`` says how a delta with embeddings of
    cameras embeds data other than its own. ``say`` gets sentences for the user, ``progress`` (rows done, in all).

    Raises:
        DataError: the data is missing or bad; broken images are named.
        DeltaError: the delta is damaged or does not fit the backbone.
        Interrupted: Ctrl-C or SIGTERM; nothing was written.
        SettingsError: ``output`` exists and ``force`` was not given, something named does not exist, or both or
            neither of ``source`` and ``text`` were given.
        ReidtuneError: the output cannot be written.
    """
    check_target(output, force)
    if source is None and text is None:
        raise SettingsError("There is nothing to embed.", "Give a folder, a table or demo, or --text with a file.")
    if source is not None and text is not None:
        raise SettingsError(
            f"Both {show(source)} and --text {show(text)} are given.", "Embed each to an output of its own."
        )
    path = None if delta is None else find_delta(delta)
    header = None if path is None else read_header(path)
    trained = () if header is None else tuple(header.data.get("modalities") or ())
    chosen = choose_device(device)

    def model() -> Model:
        name = backbone or (default_backbone(str(source)) if path is None else None)
        return load(
            path, backbone=name, pretrained=pretrained, activation=activation, image_size=image_size, device=chosen
        )

    if text is not None:
        lines = _lines(text)
        tuned = model()
        width = _embed_lines(tuned, lines, output, batch_size, progress)
        return {
            **_facts(output, len(lines), width, text, tuned),
            "counts": {"rows": len(lines), "broken": 0},
        }
    assert source is not None
    rows = rows_of(
        source,
        layout=layout,
        columns=columns,
        splits=splits,
        modalities=modalities,
        modality=modality,
        trained=trained,
        placed=lambda dataset: (
            dataset if header is None else by_name(dataset, header.settings, header.data, cameras, lists_of(splits))
        ),
        say=say,
    )
    use = None
    if header is not None:
        use = choose_use(header.settings, rows.records(), header.data.get("hash") == rows.hash, cameras)
        if sentence := use_sentence(use, header.settings):
            say(sentence)
    if not skip_broken:
        try:
            check_files(rows.records())
        except DataError as error:
            raise _with_hint(error) from error
    tuned = model()
    tuned.modalities = rows.modalities
    if use is not None:
        tuned.use_cameras(use)
    processes = choose_workers(workers, tuned.backbone.device)
    with reading(tuned.backbone.device):
        counts, width, broken = _embed_rows(tuned, rows, output, batch_size, processes, skip_broken, progress)
    if broken:
        files = "1 image" if len(broken) == 1 else f"{len(broken):,} images or samples"
        more = ", …" if len(broken) > EXAMPLES else ""
        say(f"Left out, since they cannot be read: {files}. {' '.join(broken[:EXAMPLES])}{more}")
    return {
        **_facts(output, counts.total(), width, source, tuned),
        **({"layout": rows.layout, "protocol": rows.protocol} if rows.layout else {"layout": None}),
        **({"modalities": list(rows.modalities)} if rows.modalities else {}),
        **({} if use is None else {"cameras": use}),
        "counts": {"rows": counts.total(), **(dict(counts) if rows.layout else {}), "broken": len(broken)},
        "broken": broken,
    }


def _embed_rows(
    model: Model,
    rows: Rows,
    output: Path,
    batch_size: int,
    workers: int,
    skip_broken: bool,
    progress: Count | None,
) -> tuple[Counter[str], int, list[str]]:
    """Counts of rows by split, the width of a feature, and what is wrong with each row that was left out."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    with stop_signals() as stop, FeatureWriter(output, rows.columns()) as writer:
        for group in rows.groups:
            batches = embed_batches(
                model.encode,
                group,
                model.backbone.preprocess,
                batch_size=batch_size,
                workers=workers,
                modalities=rows.modalities,
                broken=(lambda place, error: broken.append(error.message)) if skip_broken else None,
            )
            try:
                for places, features in batches:
                    _stop_if(stop, writer.rows, len(rows))
                    cells = [rows.cells(group[place]) for place in places]
                    writer.append(features.numpy(), cells)
                    counts.update((rows.splits or {}).get(id(group[place]), "") for place in places)
                    if progress is not None:
                        progress(writer.rows + len(broken), len(rows))
            except DataError as error:
                raise _with_hint(error) from error
        if not writer.rows:
            raise DataError(f"None of the {len(rows):,} images can be read.", "Look at one of the files.")
        _stop_if(stop, writer.rows, len(rows))
    return counts, writer.width, broken


def _embed_lines(
    model: Model, lines: Sequence[tuple[int, str]], output: Path, batch_size: int, progress: Count | None
) -> int:
    """Equal lines have equal features and are embedded once. Returns the width of a feature."""
    if batch_size < 1:
        raise SettingsError(f"The batch size is {batch_size}.", "Choose a batch size of at least 1.")
    places: dict[str, int] = {}
    for _, line in lines:
        places.setdefault(line, len(places))
    different = list(places)
    table = np.zeros((0, 0), dtype=np.float32)
    with stop_signals() as stop, FeatureWriter(output, ("line", "caption")) as writer:
        for start in range(0, len(different), batch_size):
            _stop_if(stop, start, len(different))
            chunk = different[start : start + batch_size]
            features = embed_texts(model.encode_texts, chunk, model.backbone.tokenizer, batch_size=batch_size).numpy()
            if not start:
                table = np.zeros((len(different), features.shape[1]), dtype=np.float32)
            table[start : start + len(chunk)] = features
            if progress is not None:
                progress(start + len(chunk), len(different))
        for start in range(0, len(lines), _TEXTS):
            part = lines[start : start + _TEXTS]
            writer.append(table[[places[line] for _, line in part]], [(str(number), line) for number, line in part])
        _stop_if(stop, len(different), len(different))
    return writer.width


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1."""
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise DataError(f'"{show(path)}" cannot be read: {error.strerror or error}.', "Check the path.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise DataError(f'"{show(path)}", line {number}: not UTF-8 text.', "Save the file as UTF-8.") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f'"{show(path)}" holds no text.', "Write one caption a line.")
    return lines


def _facts(output: Path, rows: int, width: int, source: str | Path, model: Model) -> dict[str, Any]:
    return {
        "schema": 1,
        "output": str(output),
        "table": str(output.with_suffix(".csv")),
        "source": str(source),
        "shape": [rows, width],
        "dtype": "float32",
        **model.describe(),
        "preprocess": model.backbone.preprocess.to_json(),
    }


def _stop_if(stop: StopRequest, done: int, total: int) -> None:
    if stop:
        raise Interrupted(f"Stopped at {done:,} of {total:,}; nothing was written.", "", stop.number or 2)


def _with_hint(error: ReidtuneError) -> DataError:
    return DataError(error.message, f"{error.hint} --skip-broken leaves them out.".strip())
