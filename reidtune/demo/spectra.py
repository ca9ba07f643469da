"""From a map of parts to pictures: what light, near infrared and warmth a camera gets from skin, cloth and things."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from reidtune.demo.cameras import Array, Camera
from reidtune.demo.figure import OTHER, PART, SHADE
from reidtune.demo.people import Item, Person

SPECTRA = ("RGB", "NI", "TI")
THINGS = {  # in front of people: visible colour, reflectance at near infrared, warmth
    "pole": ((74, 78, 82), 0.30, 0.22),
    "bench": ((112, 82, 56), 0.62, 0.24),
    "bush": ((58, 92, 48), 0.85, 0.16),
}


def palette(person: Person, other: Person | None, spectrum: str) -> Array:
    """What each value of a part map looks like in a spectrum: float32 [256, 4] or [256, 2], 0–255, the last is alpha.

    Colours are premultiplied (the background is all zero), so that averaging pixels mixes them rightly.
    """
    channels = 3 if spectrum == "RGB" else 1
    table = np.zeros((256, channels + 1), np.float32)
    for offset, someone in ((0, person), (OTHER, other)):
        if someone is not None:
            for part, value in _materials(someone, spectrum).items():
                table[PART[part] + offset] = (*value, 255.0)
    for part, (rgb, near, warmth) in THINGS.items():
        value = {"RGB": rgb, "NI": (near * 235,), "TI": (_warm(warmth),)}[spectrum]
        table[PART[part]] = (*value, 255.0)
    table[SHADE:] = table[:SHADE]
    table[SHADE:, :-1] *= 0.94 if spectrum == "TI" else 0.76
    return table


def _materials(person: Person, spectrum: str) -> dict[str, tuple[float, ...]]:
    upper = person.upper
    items: dict[str, Item | None] = {
        "upper": upper,
        "inner": person.inner,
        "lower": person.lower,
        "shoes": person.shoes,
        "hat": person.hat,
        "bag": person.bag,
    }
    found: dict[str, tuple[float, ...]] = {}
    for part, item in items.items():
        if item is not None:
            found[part] = {"RGB": item.rgb, "NI": (item.near * 235,), "TI": (_warm(item.warmth),)}[spectrum]
    if spectrum == "RGB":
        found |= {"skin": person.skin, "hair": person.hair_rgb, "glasses": (24, 24, 28)}
        found |= {"upper_second": upper.second_rgb, "logo": upper.second_rgb, "strap": found.get("bag", (0, 0, 0))}
    elif spectrum == "NI":
        found |= {"skin": (person.skin_near * 235,), "hair": (person.hair_near * 235,), "glasses": (30.0,)}
        found |= dict.fromkeys(("upper_second", "logo"), (upper.second_near * 235,))
        found["strap"] = found.get("bag", (0.0,))
    else:  # a print has the temperature of the cloth under it; spectacle glass is opaque and cold
        found |= {"skin": (_warm(1.0),), "hair": (_warm(0.62),), "glasses": (_warm(0.3),)}
        found |= dict.fromkeys(("upper_second", "logo"), (_warm(upper.warmth - 0.015),))
        found["strap"] = (_warm(0.3),)
    return found


def _warm(warmth: float) -> float:
    return 40.0 + 190.0 * warmth


def layer(parts: NDArray[np.uint8], table: Array, factor: int) -> Array:
    """Look the parts up and average ``factor`` × ``factor`` of them into a pixel: float32 [H, W, C + 1], 0–255."""
    if table.shape[1] == 2:  # Pillow has no float image of two channels; LA serves
        image = Image.fromarray(table.astype(np.uint8)[parts], "LA").convert("La").reduce(factor)
    else:
        image = Image.fromarray(table.astype(np.uint8)[parts], "RGBA").convert("RGBa").reduce(factor)
    return np.asarray(image, dtype=np.float32)


@lru_cache(maxsize=1)
def _tiles() -> tuple[Array, Array]:
    """Folds of cloth [512, 512], around 0 and within about ±1, and sensor noise [512, 512, 3] of unit variance."""
    rng = np.random.default_rng(4)
    coarse = Image.fromarray(rng.normal(0, 1, (40, 64)).astype(np.float32)).resize((512, 512), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.normal(0, 1, (90, 150)).astype(np.float32)).resize((512, 512), Image.Resampling.BICUBIC)
    folds = 0.6 * np.asarray(coarse, np.float32) + 0.4 * np.asarray(fine, np.float32)
    return folds, rng.normal(0, 1, (512, 512, 3)).astype(np.float32)


def develop(
    figure: Array, background: Array, camera: Camera, spectrum: str, light: float, side: float, rng: Generator
) -> Image.Image:
    """The picture that ``camera`` makes.

    Args:
        figure: people and things in front, premultiplied with alpha, [H, W, C + 1], 0–255.
        background: [H, W, C], 0–255.
        light: of this moment, relative to the camera's usual light (1.0).
        side: where it comes from, −1 left to 1 right.

    Returns:
        RGB, for near infrared and thermal with three equal channels.
    """
    height, width = figure.shape[:2]
    alpha = figure[..., -1:] / 255.0
    folds, noise = _tiles()
    y, x = (int(rng.integers(0, 512 - size)) for size in (height, width))
    if spectrum != "TI":
        soft = Image.fromarray(figure[..., -1].astype(np.uint8)).filter(ImageFilter.BoxBlur(3))
        around = np.asarray(soft, np.float32)[..., None] / 255.0
        across = np.linspace(-side, side, width, dtype=np.float32)[None, :, None]
        shading = 0.58 + 0.42 * around + 0.12 * across + 0.085 * folds[y : y + height, x : x + width, None]
        image = figure[..., :-1] * shading + background * (1.0 - alpha)
    else:
        image = figure[..., :-1] + background * (1.0 - alpha)
    if spectrum == "RGB":
        image = _expose(image, camera, light)
    elif spectrum == "NI":
        image = 255.0 * np.clip(image * camera.lamp / 255.0, 0, 1) ** (0.7 + 0.3 * camera.gamma)
    else:
        image = 96.0 + (image - 96.0) * 0.5 * (0.8 + 0.4 * camera.contrast)
    sharp = 0.42 if spectrum == "TI" else camera.detail
    return _sensor(image, camera, sharp, noise[y : y + height, x : x + width], spectrum)


def _expose(image: Array, camera: Camera, light: float) -> Array:
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * camera.saturation
    image = image * (np.array(camera.tint, np.float32) * (camera.exposure * light))
    image = 255.0 * np.clip(image / 255.0, 0, 1) ** camera.gamma
    return np.asarray(128.0 + (image - 128.0) * camera.contrast, np.float32)


def _sensor(image: Array, camera: Camera, detail: float, noise: Array, spectrum: str) -> Image.Image:
    """Lens, resolution and noise. Radius and detail are the camera's; a thermal sensor has far fewer pixels."""
    height, width = image.shape[:2]
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    if camera.blur > 0.25 or spectrum == "TI":
        picture = picture.filter(ImageFilter.GaussianBlur(camera.blur + (1.0 if spectrum == "TI" else 0.0)))
    small = (max(8, round(width * detail)), max(16, round(height * detail)))
    picture = picture.resize(small, Image.Resampling.BILINEAR).resize((width, height), Image.Resampling.BILINEAR)
    values = np.asarray(picture, np.float32)
    if values.ndim == 2:
        values = values[..., None]
    strength = camera.noise * {"RGB": 1.0, "NI": 1.2, "TI": 0.5}[spectrum]
    values = values + noise[..., : values.shape[2]] * strength
    pixels = np.clip(values, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2))
