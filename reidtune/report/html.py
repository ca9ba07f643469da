"""Pages that are one HTML file: images inside, no script, nothing fetched from elsewhere. Here: what a search found."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from reidtune import __version__
from reidtune.data.scan import show
from reidtune.files import not_written, write_whole
from reidtune.report.matches import are_wide, counts_of, heading_of, model_of, pictures_of
from reidtune.report.tables import visible

if TYPE_CHECKING:
    from reidtune.retrieval.search import Match, SearchResult

THUMBNAIL = (320, 384)  # pixels, at most
_QUALITY = 88

BASE_STYLE = """
:root { color-scheme: light dark; --paper: #f6f6f4; --card: #fff; --ink: #1c1c1a; --soft: #5f5f5a; --line: #dcdcd6;
  --accent: #285aaa; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #161617; --card: #212123; --ink: #ececea; --soft: #a9a9a4; --line: #3a3a3d; --accent: #8ab4f8; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.35rem; line-height: 1.3; overflow-wrap: anywhere; }
p { margin: .3rem 0 0; color: var(--soft); overflow-wrap: anywhere; }
footer { margin-top: 1.5rem; font-size: .85rem; }
""".strip()

_STYLE = """
header { display: flex; gap: 1rem; align-items: center; margin-bottom: 1.25rem; }
header img { width: auto; height: 8rem; max-width: 40vw; object-fit: contain; flex: none; border-radius: .4rem;
  outline: 3px solid var(--accent); }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(9.5rem, 44%), 1fr)); }
li { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden;
  display: flex; flex-direction: column; }
li img, li .gone { display: block; width: 100%; height: 15rem; object-fit: contain; background: var(--line); }
li .gone { padding: 6rem .5rem 0; text-align: center; color: var(--soft); }
ol.wide { grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.several { display: flex; gap: 2px; }
.several figure { flex: 1; min-width: 0; margin: 0; }
.several figcaption { padding: .15rem .4rem; color: var(--soft); font-size: .8rem; }
header .several { flex: none; gap: .6rem; }
.stacked { flex-direction: column; }
li .stacked img, li .stacked .gone { height: 6.5rem; }
li .stacked .gone { padding-top: 2.4rem; }
li div.text { padding: .5rem .65rem .6rem; }
li b { font-variant-numeric: tabular-nums; }
li .score { float: right; color: var(--soft); font-variant-numeric: tabular-nums; }
li .name { display: block; color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
@media (max-width: 30rem) { li img, li .gone { height: 12rem; } header img { height: 6rem; }
  header.many { flex-direction: column; align-items: flex-start; } header.many img { max-width: 27vw; } }
""".strip()


def match_page(result: SearchResult) -> str:
    """A page with the query on top and the matches in order.

    It follows the reader's light or dark setting and the width of the screen. Everything that comes from outside is
    escaped, and the page itself forbids scripts and requests.
    """
    title = text_of(result.text or f"{'Samples' if result.modalities else 'Images'} like this one")
    below = counts_of(result) if result.image is None else heading_of(result)  # the text alone is the title
    query = _query(result)
    shown = [_thumbnails(match.path, match.paths, result.modalities) for match in result.matches]
    stacked = are_wide(shown)
    matches = "\n".join(
        _item(match, pictures, result.modalities, stacked)
        for match, pictures in zip(result.matches, shown, strict=True)
    )
    body = f"""<header{' class="many"' if result.modalities else ""}>
{query}<div>
<h1>{title}</h1>
<p>{text_of(below)}.</p>
</div>
</header>
<main>
<ol{' class="wide"' if result.modalities and not stacked else ""}>
{matches}
</ol>
</main>
<footer>
<p>Folder: {text_of(show(result.index.folder.name))}</p>
<p>{text_of(model_of(result))}. Scores are cosines. Made by reidtune {__version__}.</p>
</footer>"""
    return document(title, _STYLE, body)


def document(title: str, style: str, body: str) -> str:
    """A whole page, of a ``title`` and a ``body`` that are HTML already; ``style`` comes after :data:`BASE_STYLE`."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{BASE_STYLE}
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def write_page(page: str, path: Path) -> None:
    """Write a page; it appears under its name only when it is complete.

    Raises:
        ReidtuneError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page)
    except OSError as error:
        raise not_written(path, error, "Make room or choose another file, and run it again.", "The page ") from error


def _query(result: SearchResult) -> str:
    if result.image is None:
        return ""
    pictures = _thumbnails(result.image, result.images, result.modalities)
    if result.modalities:
        there = [(name, picture) for name, picture in zip(result.modalities, pictures, strict=True)]
        there = [(name, picture) for name, picture in there if name in result.images]
        return _several([picture for _, picture in there], [name for name, _ in there], "Query image", False) + "\n"
    if isinstance(pictures[0], str):
        return ""
    return f'<img src="{_data_uri(pictures[0])}" alt="Query image {text_of(result.image.name)}">\n'


def _item(match: Match, pictures: Sequence[Image.Image | str], modalities: Sequence[str], stacked: bool) -> str:
    name = text_of(match.name)
    if modalities:
        shown = _several(pictures, modalities, f"Match {match.rank}: {name}", stacked)
    else:
        shown = _picture(pictures[0], f"Match {match.rank}: {name}")
    return (
        f'<li>{shown}<div class="text"><span class="score">{match.score:.3f}</span><b>{match.rank}</b>'
        f'<span class="name">{name}</span></div></li>'
    )


def _several(pictures: Sequence[Image.Image | str], modalities: Sequence[str], what: str, stacked: bool) -> str:
    """The images of a sample, each above the name of its modality."""
    figures = "".join(
        f"<figure>{_picture(picture, f'{what}, {text_of(name)}')}<figcaption>{text_of(name)}</figcaption></figure>"
        for name, picture in zip(modalities, pictures, strict=True)
    )
    return f'<div class="several{" stacked" if stacked else ""}">{figures}</div>'


def _picture(picture: Image.Image | str, what: str) -> str:
    if isinstance(picture, str):
        return f'<span class="gone">{text_of(picture)}</span>'
    return f'<img src="{_data_uri(picture)}" alt="{what}">'


def _thumbnails(path: Path, paths: Mapping[str, Path], modalities: Sequence[str]) -> list[Image.Image | str]:
    pictures = pictures_of(path, paths, modalities)
    for picture in pictures:
        if isinstance(picture, Image.Image):
            picture.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    return pictures


def _data_uri(picture: Image.Image) -> str:
    """The picture as a JPEG inside a URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def text_of(text: str) -> str:
    """For the page's text and for quoted attributes: no markup, no control characters."""
    return escape(visible(text), quote=True)
