"""One folder an identity, with or without split folders on top: ``DIR/train/Ayo/1.jpg`` or ``DIR/Ayo/1.jpg``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reidtune.data.layouts.assemble import SPLITS, assemble, number_names, resolve_splits
from reidtune.data.layouts.registry import Layout
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import Skipped, has_images, images_below, images_in, show, subfolders
from reidtune.errors import DataError

HINT = (
    "Sort the images into one folder an identity (optionally inside train, val, test, query, gallery), name them as "
    "Market-1501 does, or list them in a table (CSV or JSONL) with the columns path and identity."
)


def recognise(path: Path) -> bool:
    """Any folder with folders in it."""
    return path.is_dir() and bool(subfolders(path))


def read(path: Path, protocol: str | None = None) -> Dataset:
    """The dataset at ``path``, or in the only folder of ``path`` where that one holds the identity folders.

    Raises ``DataError`` where there are no identity folders or no images in them.
    """
    root = path
    while len(inside := subfolders(root)) == 1 and not has_images(root) and subfolders(inside[0]):
        if inside[0].name.lower() in SPLITS:
            break
        root = inside[0]
    if not inside:
        if has_images(root):
            raise DataError(
                f'"{show(path)}" holds {len(images_in(root)):,} images but no identity folders, and most file names '
                "do not tell an identity.",
                HINT,
            )
        raise DataError(f'"{show(path)}" holds no images.', HINT)

    skipped = Skipped()
    splits = {folder.name.lower(): folder for folder in inside if _is_split(folder)}
    notes = []
    if splits:
        others = [folder.name for folder in inside if folder not in splits.values()]
        if others:
            notes.append(f"Folders that are no split are left out: {_some(others)}.")
    else:
        splits = {"": root}
    found = {split: _identity_folders(root, folder, skipped, notes) for split, folder in splits.items()}
    numbers = number_names(name for folders in found.values() for name in folders)
    parts = {
        split: [Record((ImageFile(file),), numbers[name]) for name, files in folders.items() for file in files]
        for split, folders in found.items()
    }
    if not any(parts.values()):
        raise DataError(f'"{show(path)}" holds no images in identity folders.', HINT)
    train, query, gallery, split_notes = resolve_splits(parts, root, protocol=protocol)
    return assemble(
        root,
        LAYOUT.name,
        "Identity folders",
        train,
        query,
        gallery,
        protocol=protocol,
        notes=[*split_notes, *notes, *skipped.notes()],
        names={numbers[name]: name for folders in found.values() for name in folders},
    )


def _is_split(folder: Path) -> bool:
    """A split folder holds folders; an individual may well be called "Test", its folder holds images."""
    return folder.name.lower() in SPLITS and bool(subfolders(folder))


def _identity_folders(root: Path, folder: Path, skipped: Skipped, notes: list[str]) -> dict[str, list[Path]]:
    """Image files by identity name, empty folders left out and told."""
    found = {child.name: images_below(child, skipped, (root, folder)) for child in subfolders(folder)}
    empty = [name for name, files in found.items() if not files]
    if empty:
        notes.append(f"Folders without images are left out: {_some(empty)}.")
    strays = len(images_in(folder, skipped))
    if strays:
        notes.append(f'Images outside identity folders are left out: {strays:,} in "{show(folder.name)}".')
    return {name: files for name, files in found.items() if files}


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(show(name) for name in names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


LAYOUT = Layout(
    name="folder",
    summary="one folder an identity, optionally inside train, val, test, query, gallery",
    recognise=recognise,
    read=read,
    aliases=("folders", "imagefolder"),
)
