"""What is embedded into a file: the images of any folder, or a dataset's with what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reidtune.data import Dataset, ImageFile, Record, open_dataset
from reidtune.data.layouts import find_layout
from reidtune.data.layouts.columns import PATH
from reidtune.data.layouts.folder import LAYOUT as FOLDER
from reidtune.data.open import DEMOS
from reidtune.data.scan import show
from reidtune.errors import DataError, SettingsError, did_you_mean
from reidtune.inputs import as_modalities, known_modality
from reidtune.missing import plan_known
from reidtune.retrieval.entries import list_entries
from reidtune.retrieval.files import list_images
from reidtune.retrieval.protocol import ALL, LEAVE_ONE_OUT
from reidtune.retrieval.subsets import restrict

NO_LAYOUT = "none"
LABELS = ("split", "identity", "camera", "scene")
SPLITS = ("test", "query", "gallery", "val", "train")
TEST = ("test", "query", "gallery")


@dataclass(frozen=True)
class Rows:
    """N images or samples below ``root``, in ``groups`` that each begin a batch of their own, so that features of the
    test split have the same bits whatever is embedded with it. ``splits`` are the records' by ``id``, ``names`` those
    of identities; both are empty of a plain folder, which has no ``layout`` and no ``protocol`` either. ``modalities``
    are those that are joined in a feature. ``hash`` is that of the dataset's manifest."""

    root: Path
    groups: list[list[Record]]
    modalities: tuple[str, ...] = ()
    layout: str | None = None
    protocol: str | None = None
    splits: dict[int, str] | None = None
    names: dict[int, str] | None = None
    hash: str | None = None

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def records(self) -> Iterator[Record]:
        for group in self.groups:
            yield from group

    def columns(self) -> tuple[str, ...]:
        """The columns of the table: ``path`` or ``path_NAME`` of each modality, then, of a dataset, its labels."""
        paths = [PATH + name for name in self.modalities] if len(self.modalities) > 1 else ["path"]
        return (*paths, *(LABELS if self.layout else ()))

    def cells(self, record: Record) -> list[str]:
        """The row of ``record`` in the table; paths are relative to ``root``, with ``/``."""
        there = dict(zip(record.modalities, record.images, strict=True))
        if len(self.modalities) > 1:
            files = [self._path(there[name]) if name in there else "" for name in self.modalities]
        else:
            files = [self._path(record.images[0])]
        if not self.layout:
            return files
        known = [record.camera, record.scene]
        identity = (self.names or {}).get(record.identity, str(record.identity))
        split = (self.splits or {})[id(record)]
        return [*files, split, identity, *("" if place is None else str(place) for place in known)]

    def _path(self, image: ImageFile) -> str:
        try:
            return image.path.relative_to(self.root).as_posix()
        except ValueError:  # a table may name files anywhere
            return image.path.as_posix()


def rows_of(
    source: str | Path,
    *,
    layout: str | None = None,
    columns: Mapping[str, str] | None = None,
    splits: Sequence[str] | None = None,
    modalities: str | Sequence[str] | None = None,
    modality: str | None = None,
    trained: Sequence[str] = (),
    placed: Callable[[Dataset], Dataset] = lambda dataset: dataset,
    say: Callable[[str], None] = lambda sentence: None,
) -> Rows:
    """The rows of a folder in a known layout, a table or a demo world; else of every image in a folder and below it.

    A folder of folders may be a dataset or not: it is taken as images without labels unless ``layout`` is ``folder``;
    ``layout`` ``none`` takes any folder so; ``columns`` are those of a table
    (:func:`reidtune.data.open_dataset`). ``splits`` restricts a dataset to some (``test`` is query and gallery),
    ``modalities`` samples to what is known of them, and ``modality`` says of which all images of a folder without
    labels are. A delta was ``trained`` on its modalities, else those of the data are joined. ``placed``
    numbers the cameras of a dataset as a delta does.

    Raises:
        DataError: there is nothing of that name, or it holds no images.
        SettingsError: an unknown layout, split or modality, or one that does not apply here.
    """
    for split in splits or ():
        if split not in SPLITS:
            raise SettingsError(
                f'There is no split "{split}".{did_you_mean(split, SPLITS)}', f"Choose of {', '.join(SPLITS)}."
            )
    dataset = _dataset(source, layout, columns, say)
    if dataset is None:
        return _plain(Path(source).expanduser(), splits, modalities, modality, trained, say)
    say(dataset.sentence)
    if modality is not None:
        raise SettingsError(
            f"--modality is for folders without labels, but this is {dataset.layout} data.", "Use --modalities."
        )
    return _labelled(placed(dataset), splits, modalities, trained, say)


def lists_of(splits: Sequence[str] | None) -> tuple[str, ...]:
    """The lists of a dataset that rows of these splits come from."""
    wanted = set(SPLITS if splits is None else [*splits, *(TEST if "test" in splits else ())])
    return tuple("validation" if split == "val" else split for split in SPLITS if split in wanted - {"test"})


def _dataset(
    source: str | Path, layout: str | None, columns: Mapping[str, str] | None, say: Callable[[str], None]
) -> Dataset | None:
    """``None``: any folder."""
    if layout is not None and layout.lower() == NO_LAYOUT:
        if columns:
            raise SettingsError("A folder without a layout has no columns to name.", "Leave --column out.")
        return None
    word = isinstance(source, str) and (source in DEMOS or source.startswith("demo:"))
    path = Path(source).expanduser()
    if word or layout is not None or columns or not path.is_dir():
        return open_dataset(source, layout, columns=columns)
    try:
        if find_layout(path)[0] is FOLDER:
            return None
        return open_dataset(path)
    except DataError as error:  # such as one half of a dataset: its images can be embedded all the same
        say(f"Taken as a folder without labels: {error.message}")
        return None


def _labelled(
    dataset: Dataset,
    splits: Sequence[str] | None,
    modalities: str | Sequence[str] | None,
    trained: Sequence[str],
    say: Callable[[str], None],
) -> Rows:
    manifest = dataset.manifest()["hash"]
    wanted = set(SPLITS if splits is None else [*splits, *(TEST if "test" in splits else ())])
    sides = [{id(record) for record in records} for records in (dataset.query, dataset.gallery)]
    test = list({id(record): record for record in (*dataset.query, *dataset.gallery)}.values())
    words = {id(record): "test" if all(id(record) in side for side in sides) else "gallery" for record in test}
    words |= dict.fromkeys(sides[0] - sides[1], "query")
    words |= {id(record): "val" for record in dataset.validation}
    words |= {id(record): "train" for record in dataset.train}
    asked = as_modalities(modalities) if modalities is not None else None
    if dataset.task == "text":  # its images alone
        dataset = replace(dataset, task="image", protocol=LEAVE_ONE_OUT if sides[0] == sides[1] else ALL)
    everything = [*test, *dataset.validation, *dataset.train]
    known = plan_known(
        replace(dataset, query=everything, gallery=everything), trained, modalities=asked, matrix=False, say=say
    )
    groups: list[list[Record]] = []
    names: dict[int, str] = {}
    left_out = 0
    for records in (test, dataset.validation, dataset.train):
        group = []
        for record in records:
            if words[id(record)] in wanted:
                kept = record if known is None else restrict(record, known.query)
                left_out += kept is None
                if kept is not None:
                    names[id(kept)] = words[id(record)]
                    group.append(kept)
        groups.append(group)
    if left_out:
        say(f"{left_out:,} samples left out for want of these modalities.")
    rows = Rows(
        dataset.root,
        groups,
        () if known is None else known.joined,
        dataset.layout,
        dataset.protocol,
        names,
        dataset.identity_names,
        manifest,
    )
    if not len(rows):
        raise DataError(
            f'"{show(dataset.root)}" has nothing of the split {" or ".join(splits or ["test"])}.', dataset.sentence
        )
    return rows


def _plain(
    folder: Path,
    splits: Sequence[str] | None,
    modalities: str | Sequence[str] | None,
    modality: str | None,
    trained: Sequence[str],
    say: Callable[[str], None],
) -> Rows:
    if splits is not None:
        raise SettingsError(
            f'"{show(folder)}" is in no known layout, so it has no splits.',
            "Leave --split out, or say --layout folder where each folder in it is an identity.",
        )
    if trained and modalities is not None:
        raise SettingsError(f"The delta brings its own modalities: {', '.join(trained)}.", "Leave --modalities out.")
    joined = tuple(trained) or (as_modalities(modalities) if modalities is not None else ())
    if modality is not None:
        if not joined:
            raise SettingsError(
                f"This model has no modalities, so none is {modality}.",
                "Use a delta trained on multi-modal data, or name them: --modalities rgb,nir,tir.",
            )
        modality = known_modality(modality, joined)
    listing = list_images(folder)
    if listing.closed:
        say(f"Folders that cannot be read are left out: {', '.join(listing.closed[:3])}.")
    if not listing.files:
        raise DataError(f'"{show(folder)}" holds no images.', "Give a folder of images; folders inside it count.")
    entries = list_entries(listing, joined, modality, folder.resolve().name)
    for sentence in entries.notes if joined else ():  # without modalities there is nothing but advice for searches
        say(sentence)
    records = []
    for files in entries.files:
        there = [(name, file) for name, file in zip(joined or ("rgb",), files, strict=True) if file is not None]
        images = tuple(ImageFile(folder / file) for _, file in there)
        records.append(Record(images, 0, modalities=tuple(name for name, _ in there)))
    say(f"{len(records):,} {'samples' if joined else 'images'} without labels.")
    return Rows(folder, [records], joined)
