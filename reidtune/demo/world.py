"""Writes the demo world in the true layouts of Market-1501, CUHK-PEDES and RGBNT201."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from reidtune.demo.cameras import Camera, camera
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


@dataclass(frozen=True, slots=True)
class World:
    """``people`` has those with an identity first (``identities`` of them), then distractors."""

    people: list[Person]
    identities: int
    seed: int
    camera_set: int

    @property
    def train(self) -> int:
        """How many of the identities train."""
        return min(max(2, round(TRAIN_SHARE * self.identities)), self.identities - 2)

    def camera(self, number: int) -> Camera:
        return camera(100 * self.camera_set + number)

    def stream(self, kind: str, person: Person, number: int) -> Generator:
        """Random numbers of their own for each kind, person and camera."""
        return np.random.default_rng([self.seed, 10 + KINDS.index(kind), person.number, number])

    def neighbours(self, person: Person) -> list[Person]:
        """Who may get in the way: people that come and go at the same time."""
        return [other for other in self.people if 0 < abs(other.number - person.number) < 12]


def render_world(
    directory: Path,
    seed: int = 0,
    identities: int = IDENTITIES,
    kinds: Sequence[str] = KINDS,
    progress: Progress | None = None,
    camera_set: int = 0,
) -> None:
    """Write the world into ``directory/image``, ``directory/text`` and ``directory/multimodal``.

    The same people are in all three. The first 60 % train, the others test. The same arguments give the same bytes
    with one version of Pillow and NumPy. Each folder appears complete or not at all.

    Args:
        directory: made where it does not exist.
        seed: decides the people and their walks, not the cameras.
        identities: how many people have an identity; at least 4. Distractors come on top.
        kinds: which of ``image``, ``text``, ``multimodal`` to write.
        progress: called with (people done, people in all) over all kinds.
        camera_set: 0 is the demo's own six cameras; another number stands for six others, under the same names.

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
    if seed < 0 or camera_set < 0:
        raise SettingsError(f"The seed {seed} or the camera set {camera_set} is negative.", "Both count from 0.")
    for kind in kinds:
        if (directory / kind).exists():
            raise SettingsError(
                f"{directory / kind} exists already.", "Choose another folder, or remove this one first."
            )
    world = World(make_people(identities + max(2, identities // 8), seed), identities, seed, camera_set)
    total = len(kinds) * identities
    for done, kind in enumerate(kinds):
        _write_whole(directory, kind, world, _part_of(progress, done * identities, total))


def check_kind(kind: str) -> None:
    """Raise :class:`SettingsError` unless ``kind`` is one of :data:`KINDS`."""
    if kind not in KINDS:
        raise SettingsError(
            f'The demo world has no kind "{kind}".{did_you_mean(kind, KINDS)}', f"Kinds: {', '.join(KINDS)}."
        )


def _part_of(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total) if progress is not None else None


def _write_whole(directory: Path, kind: str, world: World, progress: Callable[[int], None]) -> None:
    """Render into a temporary folder beside the final one and rename it: an interruption leaves nothing behind."""
    render = {"image": _image, "text": _text, "multimodal": _multimodal}[kind]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=directory))
    except OSError as error:
        raise ReidtuneError(f"The demo world cannot be written to {directory}: {error.strerror}.") from error
    try:
        for name, picture, quality in render(world, unfinished, progress):
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


def _image(world: World, root: Path, progress: Callable[[int], None]) -> Iterator[Named]:
    """Market-1501: each person passes three or four of six cameras, three or four frames each.

    A query is the middle frame of each track of a test person; the rest of the track is gallery, with distractors
    (identity 0, people of no identity) and junk (−1, crops that miss most of a person).
    """
    for folder in ("bounding_box_train", "bounding_box_test", "query"):
        (root / folder).mkdir()
    for person in world.people:
        test, known = person.number >= world.train, person.number < world.identities
        identity = person.number + 1 if known else 0
        for number, shots in _passes(world, person):
            sequence = 1 + person.number * 6 // len(world.people)
            for frame, shot in enumerate(shots):
                folder = "bounding_box_test" if test else "bounding_box_train"
                if test and known and frame == len(shots) // 2:
                    folder = "query"
                name = _market_name(identity, number, sequence, person, frame)
                yield f"{folder}/{name}", shot.pictures["RGB"], world.camera(number).quality
        if test and known:
            rng = world.stream("image", person, 90)
            number = int(rng.choice(CAMERAS))
            track = make_track(person, world.camera(number), rng)
            shot = take(track, 0, rng, world.people, shift=float(rng.choice((-0.6, 0.55))))
            name = _market_name(-1, number, 1, person, 9)
            yield f"bounding_box_test/{name}", shot.pictures["RGB"], world.camera(number).quality
        progress(min(person.number + 1, world.identities))


def _passes(world: World, person: Person) -> Iterator[tuple[int, list[Shot]]]:
    """(camera, frames) of each time that ``person`` walks past a camera of the image world."""
    plan = world.stream("image", person, 0)
    numbers = sorted(int(n) for n in plan.choice(CAMERAS, size=int(plan.integers(3, 5)), replace=False))
    others = world.neighbours(person)
    for number in numbers:
        rng = world.stream("image", person, number)
        track = make_track(person, world.camera(number), rng)
        yield number, [take(track, frame, rng, others) for frame in range(int(rng.integers(3, 5)))]


def _market_name(identity: int, number: int, sequence: int, person: Person, frame: int) -> str:
    label = "-1" if identity < 0 else f"{identity:04d}"
    return f"{label}_c{number}s{sequence}_{person.number * 150 + number * 17 + frame * 5 + 1:06d}_{frame + 1:02d}.jpg"


def _text(world: World, root: Path, progress: Callable[[int], None]) -> Iterator[Named]:
    """CUHK-PEDES: four images a person, two captions an image; identities count from 1, those that train first."""
    validation = max(1, world.identities // 12)
    entries: list[dict[str, object]] = []
    for person in world.people[: world.identities]:
        split = "train" if person.number < world.train - validation else "val"
        if person.number >= world.train:
            split = "test"
        plan = world.stream("text", person, 0)
        for frame, number in enumerate(plan.choice(CAMERAS, size=4, replace=False)):
            rng = world.stream("text", person, 1 + int(number))
            seen_by = world.camera(int(number))
            shot = take(make_track(person, seen_by, rng), 0, rng, world.neighbours(person))
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
            yield f"imgs/{path}", shot.pictures["RGB"], seen_by.quality
        progress(person.number + 1)
    (root / "reid_raw.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def _multimodal(world: World, root: Path, progress: Callable[[int], None]) -> Iterator[Named]:
    """RGBNT201: the same name in RGB, NI and TI; four cameras train, two test, and test is query and gallery."""
    for person in world.people[: world.identities]:
        plan = world.stream("multimodal", person, 0)
        split, numbers, frames = "test", [1, 2], 4
        if person.number < world.train:
            split, numbers, frames = "train_171", sorted(int(n) + 1 for n in plan.permutation(4)[:3]), 3
        for number in numbers:
            rng = world.stream("multimodal", person, number)
            track = make_track(person, world.camera(number), rng, night=True)
            for frame in range(frames):
                shot = take(track, frame, rng, world.neighbours(person), SPECTRA)
                name = f"{person.number + 1:06d}_cam{number}_0_{frame:02d}.jpg"
                for spectrum, picture in shot.pictures.items():
                    yield f"{split}/{spectrum}/{name}", picture, world.camera(number).quality
        progress(person.number + 1)
