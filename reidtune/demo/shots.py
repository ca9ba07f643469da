"""One shot of one person: pose, place, light and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reidtune.demo.cameras import SCENE_HEIGHT, SCENE_WIDTH, Camera, scene
from reidtune.demo.figure import OTHER, PART, PARTS, SHADE, Place, Pose, draw_figure, view_of
from reidtune.demo.patterns import paint_pattern
from reidtune.demo.people import Person
from reidtune.demo.spectra import SPECTRA, develop, layer, palette

FACTOR = 3
"""Supersampling of the part map."""
SEEN = 0.0035
"""A part counts as visible from this share of the image on."""


@dataclass(frozen=True, slots=True)
class Track:
    """One person walking past one camera: what its frames have in common."""

    person: Person
    camera: Camera
    yaw: float
    phase: float
    light: float
    left: int


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame: pictures by spectrum (RGB, all of one size), the view, and which parts can be seen in it."""

    pictures: dict[str, Image.Image]
    view: str
    visible: frozenset[str]


def make_track(person: Person, camera: Camera, rng: Generator, night: bool = False) -> Track:
    """``night`` makes some tracks very dark or glaring, as multi-modal datasets have them."""
    turned = rng.random() < 0.25  # a few come the other way
    light = float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.35))
    if night and rng.random() < 0.55:
        light *= float(rng.choice((0.22, 0.4, 2.1)))
    return Track(
        person=person,
        camera=camera,
        yaw=float(camera.facing + rng.normal(0, camera.spread * 0.6) + (pi if turned else 0.0)),
        phase=float(rng.uniform(0, 2 * pi)),
        light=light,
        left=int(rng.integers(0, SCENE_WIDTH - 120)),
    )


def take(
    track: Track,
    frame: int,
    rng: Generator,
    others: Sequence[Person] = (),
    spectra: Sequence[str] = SPECTRA[:1],
    shift: float = 0.0,
) -> Shot:
    """Frame ``frame`` of ``track``. ``others`` are people who may get in the way; ``shift`` (a share of the height)
    misplaces the crop, as a detector's false alarms do."""
    camera, person = track.camera, track.person
    pose = Pose(track.yaw + rng.normal(0, 0.14), track.phase + frame * 1.1 + rng.normal(0, 0.2))
    height = int(camera.height * rng.uniform(0.94, 1.06))
    width = int(camera.width * rng.uniform(0.94, 1.06))
    place = _place(person, camera, height * FACTOR, width * FACTOR, rng, shift)
    parts, other = _part_map((width * FACTOR, height * FACTOR), person, pose, place, camera, others, rng)
    counts = np.bincount(parts.ravel() & (SHADE - 1), minlength=SHADE) / parts.size
    light = track.light * float(rng.normal(1.0, 0.03))
    top = int(rng.integers(0, SCENE_HEIGHT - height + 1))
    left = int(np.clip(track.left + frame * 4 + rng.integers(-4, 5), 0, SCENE_WIDTH - width))
    pictures = {}
    for spectrum in spectra:
        background = scene(camera.number)[SPECTRA.index(spectrum)][top : top + height, left : left + width]
        figure = layer(parts, palette(person, other, spectrum), FACTOR)
        pictures[spectrum] = develop(figure, background, camera, spectrum, light, camera.light, rng)
    visible = frozenset(part for part in PARTS if part != "background" and counts[PART[part]] >= SEEN)
    return Shot(pictures, view_of(pose.yaw), visible)


def _place(person: Person, camera: Camera, height: int, width: int, rng: Generator, shift: float) -> Place:
    """Detectors frame people tightly, so little of the stature is left in the picture; a little is."""
    size = height * float(np.clip(0.90 + 0.22 * (person.stature - 1.0) + rng.normal(0, camera.crop), 0.74, 1.06))
    middle = width * (0.5 + rng.normal(0, 0.045))
    top = (height - size) * 0.5 + height * (rng.normal(0, camera.crop * 0.7) + shift)
    return Place(middle, top, size, float(rng.normal(0, 0.02)))


def _part_map(
    size: tuple[int, int],
    person: Person,
    pose: Pose,
    place: Place,
    camera: Camera,
    others: Sequence[Person],
    rng: Generator,
) -> tuple[NDArray[np.uint8], Person | None]:
    image = Image.new("L", size)
    other, in_front = None, False
    if others and rng.random() < 0.16:
        other, in_front = others[int(rng.integers(len(others)))], bool(rng.random() < 0.5)
        aside = (1 if rng.random() < 0.5 else -1) * rng.uniform(0.38, 0.6)
        beside = Place(size[0] * (0.5 + aside), place.top + rng.normal(0, 8), place.height * rng.uniform(0.9, 1.1))
        turned = Pose(camera.facing + rng.normal(0, 0.8), float(rng.uniform(0, 6)))
        if not in_front:
            draw_figure(image, other, turned, beside, OTHER)
    draw_figure(image, person, pose, place)
    parts = np.array(image)
    paint_pattern(parts, person, pose, place)
    image = Image.fromarray(parts)
    if other is not None and in_front:
        draw_figure(image, other, turned, beside, OTHER)
    if rng.random() < camera.clutter:
        _obstacle(ImageDraw.Draw(image), size, rng)
    return np.asarray(image), other


def _obstacle(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: Generator) -> None:
    """A pole, a bench or a bush in front of the person."""
    width, height = size
    kind = str(rng.choice(("pole", "bench", "bush")))
    fill = PART[kind]
    if kind == "pole":
        x, thick = width * rng.uniform(0.1, 0.9), width * rng.uniform(0.06, 0.14)
        draw.rectangle((x, 0, x + thick, height), fill=fill)
        draw.rectangle((x + thick * 0.7, 0, x + thick, height), fill=fill + SHADE)
    elif kind == "bench":
        y = height * rng.uniform(0.64, 0.8)
        left, right = (0, width * rng.uniform(0.5, 1.0)) if rng.random() < 0.5 else (width * rng.uniform(0, 0.5), width)
        for row in range(3):
            top = y + row * height * 0.045
            draw.rectangle((left, top, right, top + height * 0.03), fill=fill + (SHADE if row == 1 else 0))
        for leg in (left + width * 0.06, right - width * 0.1):
            draw.rectangle((leg, y, leg + width * 0.05, height), fill=fill + SHADE)
    else:
        for _ in range(7):
            x, y = width * rng.uniform(-0.1, 1.1), height * rng.uniform(0.88, 1.05)
            r = width * rng.uniform(0.14, 0.28)
            shade = SHADE if rng.random() < 0.4 else 0
            draw.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), fill=fill + shade)
