"""Writes the demo world in the true layouts of Market-1501, CUHK-PEDES and RGBNT201."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from reidtune.demo.cameras import camera
from reidtune.demo.captions import captions, tokens
from reidtune.demo.people import Person, make_people
from reidtune.demo.shots import Shot, make_track, take
from reidtune.demo.spectra import SPECTRA
from reidtune.errors import ReidtuneError, SettingsError, did_you_mean

WORLD_VERSION = 3
"""Goes up with every change of a rendered byte; part of the cache's key."""

KINDS = ("image", "text", "multimodal")
IDENTITIES = 100
CAMERAS = (1, 2, 3, 4, 5, 6)
TRAIN_SHARE = 0.6

Progress = Callable[[int, int], None]
Named = tuple[str, Image.Image, int]  # path below the layout's folder, picture, JPEG quality


def render_world(
    directory: Path,
    seed: int = 0,
    identities: int = IDENTITIES,
    kinds: Sequence[str] = KINDS,
    progress: Progress | None = None,
) -> None:
    """Write the world into ``directory/image``, ``directory/text`` and ``directory/multimodal``.

    The same people are in all three. The first 60 % train, the others test. The same arguments give the same bytes
    with one version of Pillow and NumPy. Each folder appears complete or not at all.

    Args:
        directory: made where it does not exist.
        seed: decides the people and their walks; the cameras are the same in every world.
        identities: how many people have an identity; at least 4. Distractors come on top.
        kinds: which of ``image``, ``text``, ``multimodal`` to write.
        progress: called with (people done, people in all) over all kinds.

    Raises:
        SettingsError: an unknown kind, too few identities, a negative seed, or a folder that is there already.
        ReidtuneError: the disk refuses.
    """
    for kind in kinds:
        check_kind(kind)
    if identities < 4:
        raise SettingsError(
            f"A demo world of {identities} identities has too few people.", "Two train and two test: give at least 4."
        )
    if seed < 0:
        raise SettingsError(f"The seed {seed} is negative.", "Seeds count from 0.")
    for kind in kinds:
        if (directory / kind).exists():
            raise SettingsError(
                f"{directory / kind} exists already.", "Choose another folder, or remove this one first."
            )
    people = make_people(identities + max(2, identities // 8), seed)
    total = len(kinds) * identities
    for done, kind in enumerate(kinds):
        _write_whole(directory, kind, people, identities, seed, _part_of(progress, done * identities, total))


def check_kind(kind: str) -> None:
    """Raise :class:`SettingsError` unless ``kind`` is one of :data:`KINDS`."""
    if kind not in KINDS:
        raise SettingsError(
            f'The demo world has no kind "{kind}".{did_you_mean(kind, KINDS)}', f"Kinds: {', '.join(KINDS)}."
        )


def _part_of(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total) if progress is not None else None


def _write_whole(
    directory: Path, kind: str, people: list[Person], identities: int, seed: int, progress: Callable[[int], None]
) -> None:
    """Render into a temporary folder beside the final one and rename it: an interruption leaves nothing behind."""
    render = {"image": _image, "text": _text, "multimodal": _multimodal}[kind]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=directory))
    except OSError as error:
        raise ReidtuneError(f"The demo world cannot be written to {directory}: {error.strerror}.") from error
    try:
        for name, picture, quality in render(people, identities, seed, unfinished, progress):
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=quality)
        unfinished.chmod(0o755)
        unfinished.rename(directory / kind)
    except OSError as error:
        if not (directory / kind).is_dir():  # if it is there, another process has rendered the same world meanwhile
            raise ReidtuneError(f"The demo world cannot be written to {directory}: {error.strerror}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _train_count(identities: int) -> int:
    return min(max(2, round(TRAIN_SHARE * identities)), identities - 2)


def _stream(seed: int, kind: str, person: int, number: int) -> Generator:
    return np.random.default_rng([seed, 10 + KINDS.index(kind), person, number])


def _image(
    people: list[Person], identities: int, seed: int, root: Path, progress: Callable[[int], None]
) -> Iterator[Named]:
    """Market-1501: each person passes three or four of six cameras, three or four frames each.

    A query is the middle frame of each track of a test person; the rest of the track is gallery, with distractors
    (identity 0, people of no identity) and junk (−1, crops that miss most of a person).
    """
    for folder in ("bounding_box_train", "bounding_box_test", "query"):
        (root / folder).mkdir()
    train = _train_count(identities)
    for person in people:
        test = person.number >= train
        for number, sequence, shots in _passes(people, person, seed, "image"):
            for frame, shot in enumerate(shots):
                folder = "bounding_box_train"
                identity = person.number + 1 if person.number < identities else 0
                if test:
                    folder = "query" if frame == len(shots) // 2 and identity else "bounding_box_test"
                name = _market_name(identity, number, sequence, person.number, frame)
                yield f"{folder}/{name}", shot.pictures["RGB"], camera(number).quality
        if test and person.number < identities:
            rng = _stream(seed, "image", person.number, 90)
            number = int(rng.choice(CAMERAS))
            track = make_track(person, camera(number), rng)
            shift = float(rng.choice((-0.6, 0.55)))
            shot = take(track, 0, rng, people, shift=shift)
            name = _market_name(-1, number, 1, person.number, 9)
            yield f"bounding_box_test/{name}", shot.pictures["RGB"], camera(number).quality
        progress(min(person.number + 1, identities))


def _passes(people: list[Person], person: Person, seed: int, kind: str) -> Iterable[tuple[int, int, list[Shot]]]:
    """(camera, sequence, frames) of each time that ``person`` walks past a camera of the image world."""
    plan = _stream(seed, kind, person.number, 0)
    numbers = sorted(int(n) for n in plan.choice(CAMERAS, size=int(plan.integers(3, 5)), replace=False))
    others = _neighbours(people, person)
    for number in numbers:
        rng = _stream(seed, kind, person.number, number)
        track = make_track(person, camera(number), rng)
        shots = [take(track, frame, rng, others) for frame in range(int(rng.integers(3, 5)))]
        yield number, 1 + person.number * 6 // len(people), shots


def _neighbours(people: list[Person], person: Person) -> list[Person]:
    """Who may get in the way: people that come and go at the same time."""
    return [other for other in people if 0 < abs(other.number - person.number) < 12]


def _market_name(identity: int, number: int, sequence: int, person: int, frame: int) -> str:
    label = "-1" if identity < 0 else f"{identity:04d}"
    return f"{label}_c{number}s{sequence}_{person * 150 + number * 17 + frame * 5 + 1:06d}_{frame + 1:02d}.jpg"


def _text(
    people: list[Person], identities: int, seed: int, root: Path, progress: Callable[[int], None]
) -> Iterator[Named]:
    """CUHK-PEDES: four images a person, two captions an image; identities count from 1, those that train first."""
    train = _train_count(identities)
    validation = max(1, identities // 12)
    entries: list[dict[str, object]] = []
    for person in people[:identities]:
        split = "test" if person.number >= train else "val" if person.number >= train - validation else "train"
        plan = _stream(seed, "text", person.number, 0)
        for frame, number in enumerate(plan.choice(CAMERAS, size=4, replace=False)):
            rng = _stream(seed, "text", person.number, 1 + int(number))
            shot = take(make_track(person, camera(int(number)), rng), 0, rng, _neighbours(people, person))
            path = f"cam_{'abcdef'[int(number) - 1]}/{person.number + 1:04d}_{frame:03d}.jpg"
            lines = captions(person, shot.view, shot.visible, rng)
            entries.append(
                {
                    "split": split,
                    "captions": lines,
                    "file_path": path,
                    "processed_tokens": [tokens(line) for line in lines],
                    "id": person.number + 1,
                }
            )
            yield f"imgs/{path}", shot.pictures["RGB"], camera(int(number)).quality
        progress(person.number + 1)
    (root / "reid_raw.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def _multimodal(
    people: list[Person], identities: int, seed: int, root: Path, progress: Callable[[int], None]
) -> Iterator[Named]:
    """RGBNT201: the same name in RGB, NI and TI; four cameras train, two test, and test is query and gallery."""
    train = _train_count(identities)
    for person in people[:identities]:
        split, cameras = ("train_171", 4) if person.number < train else ("test", 2)
        plan = _stream(seed, "multimodal", person.number, 0)
        for number in range(1, cameras + 1) if cameras == 2 else sorted(plan.permutation(4)[:3] + 1):
            rng = _stream(seed, "multimodal", person.number, int(number))
            track = make_track(person, camera(int(number)), rng, night=True)
            for frame in range(3 if cameras == 4 else 4):
                shot = take(track, frame, rng, _neighbours(people, person), SPECTRA)
                name = f"{person.number + 1:06d}_cam{number}_0_{frame:02d}.jpg"
                for spectrum, picture in shot.pictures.items():
                    yield f"{split}/{spectrum}/{name}", picture, camera(int(number)).quality
        progress(person.number + 1)
