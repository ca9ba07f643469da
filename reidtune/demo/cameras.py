"""The cameras of the demo world: what each one looks at, and what it does to a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.float32]

SCENE_HEIGHT, SCENE_WIDTH, HORIZON = 176, 720, 0.42

GROUND = {  # visible colour 0–255, reflectance at near infrared 0–1, warmth 0–1
    "asphalt": ((92, 92, 96), 0.22, 0.36),
    "paving": ((158, 152, 144), 0.48, 0.40),
    "grass": ((98, 124, 68), 0.82, 0.22),
    "tiles": ((186, 182, 172), 0.62, 0.30),
    "carpet": ((118, 74, 68), 0.66, 0.34),
    "sand": ((196, 178, 146), 0.60, 0.42),
}
WALL = {
    "brick": ((138, 84, 68), 0.52, 0.34),
    "plaster": ((204, 198, 186), 0.70, 0.30),
    "hedge": ((56, 84, 46), 0.78, 0.18),
    "glass": ((104, 126, 140), 0.18, 0.14),
    "concrete": ((136, 136, 134), 0.44, 0.30),
    "wood": ((142, 108, 76), 0.64, 0.30),
}
THINGS = {
    "window": ((62, 74, 88), 0.14, 0.20),
    "door": ((92, 54, 40), 0.46, 0.28),
    "car": ((154, 40, 44), 0.34, 0.46),
    "van": ((206, 208, 210), 0.58, 0.42),
    "trunk": ((82, 66, 50), 0.40, 0.26),
    "crown": ((48, 92, 42), 0.86, 0.16),
    "sign": ((218, 188, 52), 0.72, 0.26),
    "lamp": ((60, 62, 66), 0.22, 0.24),
    "line": ((220, 220, 214), 0.80, 0.38),
}


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera.

    ``tint``, ``exposure``, ``gamma``, ``contrast`` and ``saturation`` shape the colours; ``detail``
    is the share of the resolution that survives, ``blur`` a radius and ``noise`` a standard deviation in pixels and
    0–255, ``quality`` JPEG's. ``clutter`` is how often something stands in front, ``crop`` how badly people are framed
    (a share of the height). ``facing`` (radians) is the yaw of most people who walk past and ``spread`` how much it
    varies; ``height`` × ``width`` is the usual crop in pixels. ``light`` is where the light comes from (−1 left, 1
    right) and ``lamp`` the strength of the infrared lamp.
    """

    number: int
    tint: tuple[float, float, float]
    exposure: float
    gamma: float
    contrast: float
    saturation: float
    detail: float
    blur: float
    noise: float
    quality: int
    clutter: float
    crop: float
    facing: float
    spread: float
    height: int
    width: int
    light: float
    lamp: float


@lru_cache(maxsize=64)
def camera(number: int) -> Camera:
    """Camera ``number``: the same device in every world, whoever walks past."""
    rng = np.random.default_rng([number, 2])
    warm = rng.normal(0, 0.13)
    height = int(rng.integers(116, 142))
    return Camera(
        number=number,
        tint=(1.0 + warm, 1.0 + rng.normal(0, 0.05), 1.0 - warm + rng.normal(0, 0.05)),
        exposure=float(rng.uniform(0.62, 1.22)),
        gamma=float(rng.uniform(0.8, 1.35)),
        contrast=float(rng.uniform(0.68, 1.12)),
        saturation=float(rng.uniform(0.5, 1.15)),
        detail=float(rng.uniform(0.42, 0.95)),
        blur=float(rng.uniform(0.0, 0.9)),
        noise=float(rng.uniform(1.5, 7.0)),
        quality=int(rng.integers(55, 92)),
        clutter=float(rng.uniform(0.08, 0.38)),
        crop=float(rng.uniform(0.015, 0.05)),
        facing=float((number % 4) * np.pi / 2 + rng.normal(0, 0.3)),
        spread=float(rng.uniform(0.35, 0.9)),
        height=height,
        width=int(height * rng.uniform(0.46, 0.53)),
        light=float(rng.uniform(-0.35, 0.35)),
        lamp=float(rng.uniform(0.7, 1.2)),
    )


@lru_cache(maxsize=64)
def scene(number: int) -> tuple[Array, Array, Array]:
    """What camera ``number`` looks at, wider than any crop.

    Returns:
        Colour [H, W, 3], near infrared [H, W, 1] and warmth [H, W, 1], float32 in 0–255.
    """
    rng = np.random.default_rng([number, 3])
    table = {**GROUND, **WALL, **THINGS}
    names = list(table)
    image = Image.new("L", (SCENE_WIDTH, SCENE_HEIGHT))
    draw = ImageDraw.Draw(image)
    horizon = round(SCENE_HEIGHT * (HORIZON + rng.uniform(-0.1, 0.12)))
    ground, wall = str(rng.choice(list(GROUND))), str(rng.choice(list(WALL)))
    draw.rectangle((0, 0, SCENE_WIDTH, horizon), fill=names.index(wall))
    draw.rectangle((0, horizon, SCENE_WIDTH, SCENE_HEIGHT), fill=names.index(ground))
    for _ in range(int(rng.integers(10, 22))):
        _thing(draw, rng, names, horizon)
    mortar = np.zeros((SCENE_HEIGHT, SCENE_WIDTH), np.float32)
    step = int(rng.integers(7, 16))
    mortar[:horizon:step] -= 14.0
    mortar[horizon:, :: int(rng.integers(18, 40))] -= 10.0
    grain = rng.normal(0, 1, (SCENE_HEIGHT, SCENE_WIDTH)).astype(np.float32)
    coarse = np.asarray(
        Image.fromarray(rng.normal(0, 1, (12, 48)).astype(np.float32)).resize((SCENE_WIDTH, SCENE_HEIGHT)), np.float32
    )
    texture = (6.0 * grain + 9.0 * coarse + mortar)[..., None]
    depth = np.linspace(0.86, 1.06, SCENE_HEIGHT, dtype=np.float32)[:, None, None]
    rows = [table[name] for name in names]
    shift = rng.normal(0, 14, (len(names), 3))
    colours = np.array([row[0] for row in rows], np.float32) + shift.astype(np.float32)
    near = np.array([[row[1] * 235] for row in rows], np.float32)
    warmth = np.array([[row[2] * 150 + 20] for row in rows], np.float32)
    index = np.asarray(image)
    warm = np.asarray(Image.fromarray(warmth[index, 0].astype(np.uint8)).filter(ImageFilter.BoxBlur(2)), np.float32)[
        ..., None
    ]
    return (
        np.clip(colours[index] * depth + texture, 0, 255),
        np.clip(near[index] * depth + 0.8 * texture, 0, 255),
        np.clip(warm + 0.15 * texture, 0, 255),
    )


def _thing(draw: ImageDraw.ImageDraw, rng: np.random.Generator, names: list[str], horizon: int) -> None:
    """Something that stands in the scene: a window, a car, a tree, …"""
    x = int(rng.integers(0, SCENE_WIDTH))
    kind = str(rng.choice(list(THINGS)))
    fill = names.index(kind)
    if kind in ("window", "sign"):
        y = int(rng.integers(5, max(6, horizon - 30)))
        draw.rectangle((x, y, x + int(rng.integers(14, 34)), y + int(rng.integers(12, 32))), fill=fill)
    elif kind == "door":
        draw.rectangle((x, horizon - 58, x + 26, horizon + 3), fill=fill)
    elif kind in ("car", "van"):
        length, tall = int(rng.integers(60, 96)), 26 if kind == "car" else 44
        draw.rounded_rectangle((x, horizon - tall, x + length, horizon + 8), 8, fill=fill)
        draw.rectangle((x + 8, horizon - tall + 4, x + length // 2, horizon - tall + 14), fill=names.index("window"))
        for wheel in (x + 12, x + length - 20):
            draw.ellipse((wheel, horizon, wheel + 12, horizon + 14), fill=names.index("lamp"))
    elif kind in ("trunk", "crown"):
        draw.rectangle((x, horizon - 50, x + 8, horizon + 10), fill=names.index("trunk"))
        draw.ellipse((x - 24, horizon - 92, x + 32, horizon - 34), fill=names.index("crown"))
    elif kind == "lamp":
        draw.rectangle((x, 0, x + 4, horizon + 12), fill=fill)
    else:
        y = int(rng.integers(horizon + 6, SCENE_HEIGHT - 6))
        draw.polygon([(x, y), (x + 70, y), (x + 60, y + 5), (x - 10, y + 5)], fill=fill)
