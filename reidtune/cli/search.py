"""``reidtune search``: the images of any folder, or its samples of several modalities, that fit a sentence, images, or
both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reidtune.cli.console import note, print_json, stderr, stdout
from reidtune.cli.options import Activation, Backbone, Device, ImageSize, Json, Pretrained, Quiet
from reidtune.errors import SettingsError

EXAMPLES = (
    'reidtune search demo --text "a woman in a red coat with a backpack"',
    "reidtune search photos --delta runs/market --image person.jpg --sheet found.html",
    'reidtune search photos --delta runs/market --image person.jpg --text "without the hat" --weight 0.3',
    'reidtune search photos --delta runs/market --text "a man on a bicycle" --top 50 --json',
    "reidtune search triplets --delta runs/dmpt --image rgb=RGB/7.jpg --image tir=TI/7.jpg --sheet found.png",
    "reidtune search night --modality nir --delta runs/dmpt --image rgb=person.jpg",
)


def search(
    folder: Annotated[
        str,
        typer.Argument(help="Any folder of images, or of folders RGB, NI, TI of samples; or demo.", metavar="FOLDER"),
    ],
    text: Annotated[str | None, typer.Option(help="What to look for, in words.")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="An image of what to look for. Of several modalities one each: rgb=FILE, nir=FILE, … (any subset; "
            "repeat the option). Without a name it is the first modality of the model.",
            metavar="[NAME=]FILE",
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            help="Of which modality all images in FOLDER are. Default, without folders of modalities: the one that "
            "FOLDER is called after, else the first of the model."
        ),
    ] = None,
    weight: Annotated[float, typer.Option(min=0, max=1, help="Share of the text beside an image.")] = 0.5,
    top: Annotated[int, typer.Option(min=1, help="How many matches.")] = 10,
    sheet: Annotated[Path | None, typer.Option(help="Show the matches in this .png or .html file.")] = None,
    delta: Annotated[Path | None, typer.Option(help="Delta file or run folder. Default: the backbone alone.")] = None,
    backbone: Backbone = None,
    pretrained: Pretrained = None,
    activation: Activation = None,
    image_size: ImageSize = None,
    cameras: Annotated[
        str, typer.Option(help="Of a delta with embeddings of cameras, which a folder has not: mean (of them) or none.")
    ] = "known",
    batch_size: Annotated[int, typer.Option(min=1, help="Images a batch while indexing.")] = 64,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read images while indexing.")] = None,
    device: Device = "auto",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Embed every image anew.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the --sheet file where it exists.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the images in a folder that fit a text, an image, or both.

    No labels are needed; folders inside FOLDER count. The images' features are kept in FOLDER/.reidtune, so that only
    new and changed files are embedded the next time.

    A delta trained on multi-modal data finds samples: files of the same name in folders called after modalities
    (RGB/7.jpg, NI/7.jpg, TI/7.jpg). A modality that the query lacks does not count. Without such a delta, name the
    query's images to search samples with what the backbone has learned.
    """
    from reidtune.model import default_backbone, load
    from reidtune.report.html import match_page, write_page
    from reidtune.report.matches import PAGE_SUFFIXES, check_target, match_sheet, match_table
    from reidtune.report.pictures import save_picture
    from reidtune.report.progress import counting
    from reidtune.retrieval.entries import modalities_for
    from reidtune.retrieval.query import check_query
    from reidtune.retrieval.search import find_folder
    from reidtune.retrieval.search import search as search_images

    notes = stderr(quiet=quiet or as_json)
    images = _named(image or [])
    named = modality is not None or any(images)
    check_query(text, images, weight, top)
    if sheet is not None:
        check_target(sheet, force)
    place = find_folder("demo:multimodal" if named and folder == "demo" else folder)
    tuned = None if str(delta) == "none" else delta
    model = load(
        tuned,
        backbone=backbone or (default_backbone(folder) if tuned is None else None),
        pretrained=pretrained,
        activation=activation,
        image_size=image_size,
        device=device,
        cameras=cameras,
    )
    if model.modalities and folder == "demo":
        place = find_folder("demo:multimodal")
    elif named and not model.modalities:
        model.modalities = modalities_for(place, [*images, modality or ""])
    with counting(notes, "Samples" if model.modalities else "Images") as count:
        result = search_images(
            model,
            place,
            text=text,
            image=images,
            modality=modality,
            weight=weight,
            top=top,
            batch_size=batch_size,
            threads=workers,
            rebuild=rebuild,
            say=lambda sentence: note(notes, sentence),
            progress=count,
        )
    if as_json:
        print_json(result.to_json())
    else:
        stdout().print(match_table(result))
    if sheet is None:
        return
    if sheet.suffix.lower() in PAGE_SUFFIXES:
        write_page(match_page(result), sheet)
    else:
        save_picture(match_sheet(result), sheet)


def _named(values: list[str]) -> dict[str, Path]:
    """``rgb=a.jpg`` under ``rgb``, ``a.jpg`` under no name; what is a file as it stands has no name."""
    found: dict[str, Path] = {}
    for value in values:
        name, equals, file = value.partition("=")
        if not equals or not name.strip() or "/" in name or "." in name or Path(value).expanduser().is_file():
            name, file = "", value
        name = name.strip()
        if name in found:
            again = f"There are two images of {name}." if name else "There are two images without a name."
            raise SettingsError(again, "Give one of each modality: --image rgb=FILE --image nir=FILE.")
        if not file:
            raise SettingsError(f"--image {value} names no file.", "Give --image NAME=FILE.")
        found[name] = Path(file)
    return found
