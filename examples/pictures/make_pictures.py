"""Make the README's pictures, from rendered people alone.

    python examples/pictures/make_pictures.py RUN

RUN is a run folder or delta trained on the demo world.
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
    evaluate_dataset("demo", Path(sys.argv[1]), sheet=FOLDER / "ranked_lists.png")
    lists = Image.open(FOLDER / "ranked_lists.png").quantize(256)
    lists.save(FOLDER / "ranked_lists.png", optimize=True)
    found = search(load(backbone="tiny"), demo_folder("text"), text=QUERY)
    match_sheet(found).quantize(256).save(FOLDER / "search.png", optimize=True)


if __name__ == "__main__":
    main()
