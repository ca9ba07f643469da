"""What the files tell: which cannot be read, which are there twice, which look odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reidtune.data.census import SQUASHED, sizes
from reidtune.data.depth import DARK, dark_sentence
from reidtune.data.findings import ERROR, FACT, WARNING, Finding, below, counted, some
from reidtune.data.look import Look
from reidtune.data.record import Dataset
from reidtune.data.scan import show

TINY = 16  # pixels: a side of fewer is tiny
EXTREME = 6  # the longer side over the shorter one
DISTORTED = 1.5  # widened or narrowed by more than this
SHAPES = ((128, 256), (128, 384), (224, 224), (256, 128))  # width and height that suit patches of 16 and 32


@dataclass(frozen=True)
class Owners:
    """Whose a file is: (split, identity, modality) of each record that shows it."""

    of: Mapping[Path, set[tuple[str, int, str]]]

    def splits(self, paths: Sequence[Path]) -> set[str]:
        return {split for path in paths for split, _, _ in self.of[path]}

    def identities(self, paths: Sequence[Path]) -> set[int]:
        """Junk left out: it is ignored, whoever it shows."""
        return {identity for path in paths for _, identity, _ in self.of[path] if identity >= 0}

    def differ_in_modality(self, paths: Sequence[Path]) -> bool:
        """Whether the files are of different modalities; a strip is of several itself."""
        return len({frozenset(modality for _, _, modality in self.of[path]) for path in paths}) > 1


def broken_files(dataset: Dataset, looks: Mapping[Path, Look]) -> Iterator[Finding]:
    broken = [look for look in looks.values() if look.problem is not None]
    if broken:
        yield Finding(
            ERROR,
            "broken-files",
            len(broken),
            f"{counted(len(broken), 'image file')} of {len(looks):,} cannot be read.",
            "Replace the files or take them out of the dataset.",
            some(_reason(look, dataset.root) for look in broken),
        )


def copies(dataset: Dataset, groups: Sequence[Sequence[Path]], owners: Owners) -> Iterator[Finding]:
    """Files of the same bytes: each group counts once, where it does most harm."""
    twice = [[path] for path in owners.of if len(owners.identities([path])) > 1 or _leaks(owners, [path])]
    grouped = {path for group in groups for path in group}
    left: list[Sequence[Path]] = [*groups, *(paths for paths in twice if paths[0] not in grouped)]
    kinds: tuple[tuple[str, str, Callable[[Sequence[Path]], bool], str, str], ...] = (
        (
            WARNING,
            "copies-across-identities",
            lambda paths: len(owners.identities(paths)) > 1,
            "under several identities: at least one label is wrong",
            "Keep the copy with the right identity.",
        ),
        (
            WARNING,
            "copies-across-splits",
            lambda paths: _leaks(owners, paths),
            "in training and outside it: what is learned by heart is then tested",
            "Take them out of one side.",
        ),
        (
            WARNING,
            "copies-across-modalities",
            owners.differ_in_modality,
            "as several modalities",
            "Replace them with the modality's own image, or leave that one missing.",
        ),
        (FACT, "copies", lambda paths: True, "for one identity; copies teach nothing new", "Keep one of each."),
    )
    for level, kind, belongs, where, hint in kinds:
        here = [paths for paths in left if belongs(paths)]
        left = [paths for paths in left if not belongs(paths)]
        if here:
            one = f"{counted(len(here), 'picture is', 'pictures are')} there more than once, byte for byte, {where}"
            files = sum(map(len, here))
            yield Finding(
                level,
                kind,
                len(here),
                f"{one} ({counted(files, 'file')}).",
                hint,
                some(" = ".join(below(path, dataset.root) for path in paths[:3]) for paths in here),
            )


def odd_files(dataset: Dataset, looks: Mapping[Path, Look]) -> Iterator[Finding]:
    """Files that can be read and still may be none that were meant."""
    good = [look for look in looks.values() if look.problem is None]

    def odd(level: str, kind: str, found: list[Look], sentence: str, hint: str) -> Iterator[Finding]:
        if found:
            names = some(below(look.path, dataset.root) for look in found)
            yield Finding(level, kind, len(found), f"{counted(len(found), 'file')} {sentence}", hint, names)

    flat = [look for look in good if any(image.flat for image in look.prints)]
    yield from odd(
        WARNING, "flat-images", flat, "of one flat colour.", "Look at them; take them out if they show nothing."
    )
    if dark := dark_sentence(look.highest for look in good):
        looks_dark = [look for look in good if look.highest is not None and look.highest <= DARK]
        names = some(below(look.path, dataset.root) for look in looks_dark)
        hint = "Convert them to 8 bits first, all by the same range."
        yield Finding(WARNING, "dark-16-bit-images", len(looks_dark), f"{dark}.", hint, names)
    tiny = [look for look in good if min(map(min, look.sizes)) < TINY]
    yield from odd(
        WARNING, "tiny-images", tiny, f"with a side of fewer than {TINY} pixels.", "Leave out what shows nothing."
    )
    long = [look for look in good if any(max(size) > EXTREME * min(size) >= EXTREME * TINY for size in look.sizes)]
    yield from odd(
        WARNING,
        "extreme-shapes",
        long,
        f"more than {EXTREME} times as long as wide, or as wide as long.",
        "Look at them: they may be cut wrongly, or be several images in one.",
    )
    modes = Counter(look.mode for look in good if look.mode != "RGB")
    told = ", ".join(f"{mode} {number:,}" for mode, number in modes.most_common())
    yield from odd(
        FACT,
        "converted-images",
        [look for look in good if look.mode != "RGB"],
        f"converted to RGB ({told}).",
        "Transparent pixels are laid on white, 16 bits keep the upper 8, and a palette or CMYK becomes RGB.",
    )
    yield from odd(FACT, "turned-images", [look for look in good if look.turned], "turned upright, as EXIF says.", "")
    yield from odd(
        FACT, "animations", [look for look in good if look.animated], "of several frames; the first is read.", ""
    )
    yield from _squashed([size for look in good for size in look.sizes])


def _squashed(shapes: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    found = sizes(shapes)
    if found is None:
        return
    widened, aspect = found["squashed"]["widened"], found["aspect"]["median"]
    if 1 / DISTORTED < widened < DISTORTED:
        return

    def distance(shape: tuple[int, int]) -> float:
        ratio: float = shape[1] / shape[0] / aspect
        return max(ratio, 1 / ratio)

    best = min(SHAPES, key=distance)
    change = f"{widened:.1f} times as wide" if widened > 1 else f"{1 / widened:.1f} times as narrow"
    yield Finding(
        FACT,
        "distorted",
        len(shapes),
        f"Squashing to 256x128 (height x width) makes the median image {change} against its height.",
        "" if best == SQUASHED else f"--image-size {best[1]}x{best[0]} is nearer to its shape.",
    )


def _leaks(owners: Owners, paths: Sequence[Path]) -> bool:
    splits = owners.splits(paths)
    return "train" in splits and len(splits) > 1


def _reason(look: Look, root: Path) -> str:
    return (look.problem or "").replace(f'"{show(look.path)}"', show(below(look.path, root)), 1).removesuffix(".")
