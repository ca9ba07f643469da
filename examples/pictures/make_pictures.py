"""Make the README's pictures, from rendered people alone.

    python examples/pictures/make_pictures.py RUN TRIPLETS

Both are run folders or deltas: RUN trained on the demo world, TRIPLETS on demo:multimodal.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from reidtune.demo import demo_folder
from reidtune.evaluation import evaluate_dataset
from reidtune.model import load
from reidtune.report.matches import match_sheet
from reidtune.retrieval.search import search

FOLDER = Path(__file__).parent
QUERY = "a woman in a red coat with a backpack"
PEOPLE, HEIGHT, WIDTH, GAP = 12, 128, 64, 4


def world() -> Image.Image:
    """Test people of the multi-modal demo world: RGB, near infrared and thermal in three rows."""
    root = demo_folder("multimodal") / "test"
    first = {path.name.split("_")[0]: path.name for path in sorted((root / "RGB").glob("*.jpg"), reverse=True)}
    names = [first[key] for key in sorted(first)[:PEOPLE]]
    sheet = Image.new("RGB", (PEOPLE * (WIDTH + GAP) - GAP, 3 * (HEIGHT + GAP) - GAP), "white")
    for row, modality in enumerate(("RGB", "NI", "TI")):
        for column, name in enumerate(names):
            picture = Image.open(root / modality / name).convert("RGB").resize((WIDTH, HEIGHT))
            sheet.paste(picture, (column * (WIDTH + GAP), row * (HEIGHT + GAP)))
    return sheet


def main() -> None:
    world().save(FOLDER / "demo_world.png", optimize=True)
    sheets = (("demo", "ranked_lists.png"), ("demo:multimodal", "modalities.png"))
    for (data, name), delta in zip(sheets, sys.argv[1:], strict=True):
        evaluate_dataset(data, Path(delta), sheet=FOLDER / name)
        Image.open(FOLDER / name).quantize(256).save(FOLDER / name, optimize=True)
    found = search(load(backbone="tiny"), demo_folder("text"), text=QUERY)
    match_sheet(found).quantize(256).save(FOLDER / "search.png", optimize=True)


if __name__ == "__main__":
    main()
