"""Draws a person, seen from one side in one pose of a walk, as a map of parts.

A part map is an 8-bit image whose values say what is seen there (:data:`PARTS`). Colour, near infrared and warmth
are looked up afterwards (:mod:`reidtune.demo.spectra`), so the three spectra of a shot share one geometry.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin, sqrt

from PIL import Image, ImageDraw

from reidtune.demo.people import UPPER, Person

PARTS = (
    *("background", "skin", "hair", "hat", "upper", "upper_second", "logo", "inner", "lower", "shoes", "bag", "strap"),
    *("glasses", "pole", "bench", "bush"),
)
PART = {name: value for value, name in enumerate(PARTS)}
OTHER = 32
"""Added to a part's value where it belongs to a second person."""
SHADE = 128
"""Added to a part's value where it lies in shade."""

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Pose:
    """``yaw`` in radians: 0 faces the camera, π/2 walks to the right of the image, π shows the back.
    ``phase`` in radians of the walk, ``stride`` the swing of arms and legs as a fraction of the stature."""

    yaw: float
    phase: float
    stride: float = 0.09


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person stands in the part map, in its pixels: the middle, the top of the head, the height."""

    middle: float
    top: float
    height: float
    lean: float = 0.0


class Figure:
    """One person being drawn. All lengths are fractions of the stature, y downwards from the top of the head."""

    def __init__(self, canvas: ImageDraw.ImageDraw, person: Person, pose: Pose, place: Place, offset: int) -> None:
        self.canvas = canvas
        self.person = person
        self.place = place
        self.offset = offset
        self.face, self.away = cos(pose.yaw), sin(pose.yaw)
        self.swing = sin(pose.phase) * pose.stride
        self.lift = cos(pose.phase) * pose.stride
        girth = person.girth
        self.shoulder = (0.112 if person.woman else 0.128) * (0.75 + 0.25 * girth)
        self.waist = (0.074 if person.woman else 0.088) * girth
        self.hip = (0.098 if person.woman else 0.090) * (0.4 + 0.6 * girth)
        self.limb_width = 0.030 * (0.5 + 0.5 * girth)

    def across(self, wide: float, deep: float) -> float:
        """Half width of an upright body part whose half width is ``wide`` from the front and ``deep`` from aside."""
        return sqrt((wide * self.face) ** 2 + (deep * self.away) ** 2)

    def polygon(self, points: Points, part: str, shade: bool = False) -> None:
        self.canvas.polygon([self._pixel(x, y) for x, y in points], fill=self._value(part, shade))

    def ellipse(self, x: float, y: float, rx: float, ry: float, part: str, shade: bool = False) -> None:
        cx, cy = self._pixel(x, y)
        rx, ry = rx * self.place.height, ry * self.place.height
        self.canvas.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=self._value(part, shade))

    def limb(self, points: Points, start: float, end: float, part: str, shade: bool = False) -> None:
        """A tapered, rounded limb through ``points``; ``start`` and ``end`` are half widths."""
        steps = len(points) - 1
        for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
            w0 = start + (end - start) * i / steps
            w1 = start + (end - start) * (i + 1) / steps
            length = sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2) or 1.0
            nx, ny = (y1 - y0) / length, (x0 - x1) / length
            quad = [
                (x0 + nx * w0, y0 + ny * w0),
                (x1 + nx * w1, y1 + ny * w1),
                (x1 - nx * w1, y1 - ny * w1),
                (x0 - nx * w0, y0 - ny * w0),
            ]
            self.polygon(quad, part, shade)
            self.ellipse(x1, y1, w1, w1, part, shade)

    def draw(self) -> None:
        near = 1 if self.away < 0 else -1  # the side (+1 is the person's left) that is turned to the camera
        side_on = abs(self.away) > 0.45
        self._bag(far=True)
        self._back_hair(behind=True)
        if side_on:
            self._arm(-near, shade=True)
        self._leg(-near, shade=side_on)
        self._leg(near, shade=False)
        self._torso()
        self._bag(far=False)
        for side in (near,) if side_on else (-1, 1):
            self._arm(side, shade=False)
        self._head()
        self._back_hair(behind=False)
        self._hat()

    def _leg(self, side: int, shade: bool) -> None:
        lower, width = self.person.lower, self.limb_width * 1.45
        swing, lift = side * self.swing, max(0.0, side * self.lift)
        hip_x = side * self.hip * 0.52 * self.face
        knee = (hip_x + swing * self.away * 0.75 + lift * 0.25 * self.away, 0.735 - 0.06 * lift)
        foot_x = hip_x * 1.05 + swing * self.away * 1.6 - lift * 0.35 * self.away
        foot = (foot_x, 0.955 - 0.25 * lift - 0.10 * max(0.0, -swing * self.face))
        points = [(hip_x, 0.50), knee, foot]
        bare = lower.kind in ("shorts", "skirt") or self.person.upper.kind == "dress"
        if bare:
            self.limb(points, width, width * 0.55, "skin", shade)
            if lower.kind == "shorts" and self.person.upper.kind != "dress":
                short = (hip_x + (knee[0] - hip_x) * 0.85, 0.50 + (knee[1] - 0.50) * 0.85)
                self.limb([(hip_x, 0.50), short], width * 1.2, width * 1.15, "lower", shade)
        elif lower.kind != "long skirt":
            slim = {"leggings": 0.82, "jeans": 0.95}.get(lower.kind, 1.1)
            self.limb(points, width * 1.1 * slim, width * 0.72 * slim, "lower", shade)
        if self.person.shoes.kind == "boots":
            shin = (knee[0] + (foot[0] - knee[0]) * 0.5, knee[1] + (foot[1] - knee[1]) * 0.5)
            self.limb([shin, foot], width * 0.75, width * 0.72, "shoes", shade)
        toe = 0.026 * self.away
        self.ellipse(foot[0] + toe, foot[1] + 0.017, 0.024 + abs(toe) * 0.9, 0.020, "shoes", shade)

    def _torso(self) -> None:
        person = self.person
        sleeves, hem, opens, _ = UPPER[person.upper.kind]
        top, deep = self.across(self.shoulder, 0.062 * person.girth), 0.078 * person.girth
        waist, hip = self.across(self.waist, deep), self.across(self.hip, deep + 0.008)
        if person.upper.kind != "dress" and person.lower.kind in ("skirt", "long skirt"):
            low, flare = (0.71, 1.45) if person.lower.kind == "skirt" else (0.90, 1.7)
            self.polygon([(-hip, 0.46), (hip, 0.46), (hip * flare, low), (-hip * flare, low)], "lower")
        else:
            self.polygon([(-hip, 0.46), (hip, 0.46), (hip * 0.98, 0.54), (-hip * 0.98, 0.54)], "lower")
        self.limb([(0.0, 0.10), (0.0, 0.17)], 0.028, 0.034, "skin", shade=True)
        inset = 0.62 if sleeves == "none" else 1.0
        outline: Points = [(-0.035, 0.146), (0.035, 0.146), (top * inset, 0.178), (waist * 1.06, 0.36)]
        outline += [(hip * 1.03, min(hem, 0.52))]
        if hem > 0.6:
            outline += [(hip * 1.28, hem), (-hip * 1.28, hem)]
        else:
            outline += [(hip * 1.03, hem), (-hip * 1.03, hem)]
        outline += [(-hip * 1.03, min(hem, 0.52)), (-waist * 1.06, 0.36), (-top * inset, 0.178)]
        if sleeves == "none":
            self.polygon([(-top, 0.18), (top, 0.18), (waist, 0.24), (-waist, 0.24)], "skin")
        self.polygon(outline, "upper")
        if opens and self.face > 0.25:
            x, gap = self.away * top * 0.55, 0.034 * self.face
            strip: Points = [(x - gap * 0.7, 0.146), (x + gap * 0.7, 0.146), (x + gap, 0.50), (x - gap, 0.50)]
            self.polygon(strip, "inner")
        elif not opens and self.face > 0.3:
            self.ellipse(self.away * 0.03, 0.148, 0.030 * self.face, 0.018, "skin", shade=True)  # the neckline
        if person.upper.kind == "hoodie":
            x = -self.away * top * 0.8
            self.ellipse(x, 0.168, 0.040 + 0.022 * abs(self.face), 0.034, "upper", shade=True)
        if person.upper.pattern == "logo" and self.face > 0.35:
            self.ellipse(self.away * top * 0.6, 0.275, 0.042 * self.face, 0.034, "logo")

    def _arm(self, side: int, shade: bool) -> None:
        person, width = self.person, self.limb_width
        swing = -side * self.swing
        out = self.across(self.shoulder, 0.0) * 0.97
        x = side * (out if self.face > 0 else -out)
        spread = side * 0.028 * self.face * person.girth
        elbow = (x + spread + swing * self.away * 0.8, 0.345)
        hand = (x + spread * 1.1 + swing * self.away * 2.0, 0.475 - abs(swing) * 0.35)
        points = [(x, 0.195), elbow, hand]
        sleeves = UPPER[person.upper.kind][0]
        self.limb(points, width * 0.85, width * 0.6, "skin", shade)
        self.ellipse(hand[0], hand[1] + 0.014, 0.018, 0.024, "skin", shade)
        if sleeves == "long":
            self.limb(points, width * 1.35, width * 1.12, "upper", shade=True)
            self.limb(points, width * 1.05, width * 0.85, "upper", shade)
        elif sleeves == "short":
            middle = (x + (elbow[0] - x) * 0.6, 0.195 + 0.15 * 0.6)
            self.limb([(x, 0.195), middle], width * 1.4, width * 1.4, "upper", shade=True)
            self.limb([(x, 0.195), middle], width * 1.15, width * 1.15, "upper", shade)
        bag = person.bag
        if bag is not None and bag.kind == "handbag" and side == person.bag_side:
            wide = self.across(0.034, 0.058)
            self.limb([hand, (hand[0], hand[1] + 0.05)], 0.006, 0.006, "strap")
            low = hand[1] + 0.13
            box = [(hand[0] - wide, low - 0.085), (hand[0] + wide, low - 0.085)]
            self.polygon([*box, (hand[0] + wide * 1.15, low), (hand[0] - wide * 1.15, low)], "bag", shade)

    def _bag(self, far: bool) -> None:
        """Backpack or shoulder bag; ``far`` draws what the body hides, the other call what hangs before it."""
        bag, side = self.person.bag, self.person.bag_side
        if bag is None or bag.kind == "handbag":
            return
        if bag.kind == "backpack":
            if far == (self.face > -0.2):
                wide, x = self.across(0.086, 0.050), -self.away * (0.058 * self.person.girth + 0.056)
                self.polygon([(x - wide * 0.8, 0.178), (x + wide * 0.8, 0.178), (x + wide, 0.24), (x + wide, 0.42),
                              (x + wide * 0.85, 0.445), (x - wide * 0.85, 0.445), (x - wide, 0.42), (x - wide, 0.24)],
                             "bag")  # fmt: skip
                pocket: Points = [(x - wide * 0.6, 0.33), (x + wide * 0.6, 0.33), (x + wide * 0.6, 0.42)]
                self.polygon([*pocket, (x - wide * 0.6, 0.42)], "bag", shade=True)
            elif not far:
                for strap in (-1, 1):
                    x = strap * self.shoulder * 0.52 * self.face + self.away * 0.02
                    self.limb([(x, 0.165), (x * 1.08, 0.36)], 0.010, 0.009, "strap")
            return
        nearer = side * self.away < 0.35  # the bag hangs on the side that is turned to the camera, or on the edge
        x = side * self.across(self.hip, 0.02) * (1.12 if self.face > 0 else -1.12)
        if far != nearer:
            wide = self.across(0.045, 0.075)
            box: Points = [(x - wide, 0.46), (x + wide, 0.46), (x + wide, 0.575), (x - wide, 0.575)]
            self.polygon(box, "bag")
            self.polygon(
                [(x - wide, 0.46), (x + wide, 0.46), (x + wide * 0.9, 0.50), (x - wide * 0.9, 0.50)], "bag", True
            )
        if not far:
            start = -side * self.across(self.shoulder, 0.0) * (0.5 if self.face > 0 else -0.5)
            self.limb([(start, 0.16), (x * 0.9, 0.47)], 0.008, 0.008, "strap")

    def _back_hair(self, behind: bool) -> None:
        """Hair that falls behind the head: before the torso is drawn from the front, after it from the back."""
        hair = self.person.hair
        if behind == (self.face < 0.1) or hair in ("bald", "short"):
            return
        x = -self.away * 0.034
        if hair in ("long", "bob"):
            low, wide = (0.255, 0.058) if hair == "long" else (0.148, 0.057)
            self.polygon([(x - 0.05, 0.05), (x + 0.05, 0.05), (x + wide, low), (x - wide, low)], "hair")
            self.ellipse(x, low, wide, 0.02, "hair")
        elif hair == "ponytail":
            tail = -self.away * 0.078
            self.limb([(tail * 0.6, 0.06), (tail, 0.11), (tail * 0.95, 0.22)], 0.018, 0.012, "hair", shade=True)
        else:
            self.ellipse(-self.away * 0.05, 0.022 if self.face > 0 else 0.04, 0.028, 0.026, "hair", shade=True)

    def _head(self) -> None:
        rx, ry = self.across(0.043, 0.052), 0.060
        if self.person.hair == "bald":
            self.ellipse(0.0, 0.064, rx, ry, "skin")
        elif self.face < -0.35:
            self.ellipse(0.0, 0.075, rx, ry * 0.9, "skin", shade=True)
            self.ellipse(0.0, 0.060, rx * 1.06, ry, "hair")
        else:
            self.ellipse(-self.away * 0.010, 0.060, rx * 1.12, ry * 1.05, "hair")
            self.ellipse(self.away * 0.020, 0.078, rx * (0.86 - 0.18 * abs(self.away)), ry * 0.78, "skin")
        if self.person.glasses and self.face > -0.2:
            x = self.away * 0.036
            self.limb([(x - 0.030 * self.face - 0.006, 0.066), (x + 0.030 * self.face + 0.006, 0.066)], 0.008, 0.008,
                      "glasses")  # fmt: skip

    def _hat(self) -> None:
        hat = self.person.hat
        if hat is None:
            return
        rx = self.across(0.050, 0.058)
        left, top = self._pixel(-rx, -0.012)
        right, low = self._pixel(rx, 0.098 if hat.kind == "beanie" else 0.088)
        self.canvas.pieslice((min(left, right), top, max(left, right), low), 180, 360, fill=self._value("hat", False))
        if hat.kind == "cap":
            brim = self.away * 0.062
            self.ellipse(brim, 0.040, 0.030 + 0.012 * abs(self.face), 0.009, "hat", self.face > 0)
        elif hat.kind == "sun hat":
            self.ellipse(0.0, 0.040, 0.098, 0.016, "hat", shade=True)

    def _pixel(self, x: float, y: float) -> tuple[float, float]:
        place = self.place
        return place.middle + (x + place.lean * (0.5 - y)) * place.height, place.top + y * place.height

    def _value(self, part: str, shade: bool) -> int:
        return PART[part] + self.offset + (SHADE if shade else 0)


def draw_figure(image: Image.Image, person: Person, pose: Pose, place: Place, offset: int = 0) -> None:
    """Draw ``person`` into the part map ``image`` (mode L); ``offset`` is 0 or :data:`OTHER`."""
    Figure(ImageDraw.Draw(image), person, pose, place, offset).draw()


VIEWS = ("front", "right", "back", "left")


def view_of(yaw: float) -> str:
    """The side that the camera sees most of: ``front``, ``back``, or the way a walker goes, ``left`` or ``right``."""
    return VIEWS[round((yaw % (2 * pi)) / (pi / 2)) % 4]
