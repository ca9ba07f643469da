"""What a search found as one HTML file: images inside, no script, nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import contextlib
import io
import secrets
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from reidtune import __version__
from reidtune.data.scan import show
from reidtune.errors import ReidtuneError
from reidtune.report.matches import counts_of, heading_of, model_of, open_file
from reidtune.report.tables import visible

if TYPE_CHECKING:
    from reidtune.retrieval.search import Match, SearchResult

THUMBNAIL = (320, 384)  # pixels, at most
_QUALITY = 88

_STYLE = """
:root { color-scheme: light dark; --paper: #f6f6f4; --card: #fff; --ink: #1c1c1a; --soft: #5f5f5a; --line: #dcdcd6;
  --accent: #285aaa; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #161617; --card: #212123; --ink: #ececea; --soft: #a9a9a4; --line: #3a3a3d; --accent: #8ab4f8; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; }
header { display: flex; gap: 1rem; align-items: center; margin-bottom: 1.25rem; }
header img { width: auto; height: 8rem; max-width: 40vw; object-fit: contain; flex: none; border-radius: .4rem;
  outline: 3px solid var(--accent); }
h1 { margin: 0; font-size: 1.35rem; line-height: 1.3; overflow-wrap: anywhere; }
p { margin: .3rem 0 0; color: var(--soft); overflow-wrap: anywhere; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(9.5rem, 44%), 1fr)); }
li { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden;
  display: flex; flex-direction: column; }
li img, li .gone { display: block; width: 100%; height: 15rem; object-fit: contain; background: var(--line); }
li .gone { padding: 6rem .5rem 0; text-align: center; color: var(--soft); }
li div { padding: .5rem .65rem .6rem; }
li b { font-variant-numeric: tabular-nums; }
li .score { float: right; color: var(--soft); font-variant-numeric: tabular-nums; }
li .name { display: block; color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
footer { margin-top: 1.5rem; font-size: .85rem; }
@media (max-width: 30rem) { li img, li .gone { height: 12rem; } header img { height: 6rem; } }
""".strip()


def match_page(result: SearchResult) -> str:
    """A page with the query on top and the matches in order.

    It follows the reader's light or dark setting and the width of the screen. Everything that comes from outside is
    escaped, and the page itself forbids scripts and requests.
    """
    title = _text(result.text or "Images like this one")
    below = counts_of(result) if result.image is None else heading_of(result)  # the text alone is the title
    image = None if result.image is None else _data_uri(result.image)
    name = "" if result.image is None else _text(result.image.name)
    query = "" if image is None else f'<img src="{image}" alt="Query image {name}">\n'
    matches = "\n".join(_item(match) for match in result.matches)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<header>
{query}<div>
<h1>{title}</h1>
<p>{_text(below)}.</p>
</div>
</header>
<main>
<ol>
{matches}
</ol>
</main>
<footer>
<p>Folder: {_text(show(result.index.folder.name))}</p>
<p>{_text(model_of(result))}. Scores are cosines. Made by reidtune {__version__}.</p>
</footer>
</body>
</html>
"""


def write_page(page: str, path: Path) -> None:
    """Write a page; it appears under its name only when it is complete.

    Raises:
        ReidtuneError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ReidtuneError(f"The page {path} could not be written: {error.strerror or error}.") from error


def _item(match: Match) -> str:
    name = _text(match.name)
    uri = _data_uri(match.path)
    picture = (
        '<span class="gone">cannot be read</span>'
        if uri is None
        else f'<img src="{uri}" alt="Match {match.rank}: {name}">'
    )
    return (
        f'<li>{picture}<div><span class="score">{match.score:.3f}</span><b>{match.rank}</b>'
        f'<span class="name">{name}</span></div></li>'
    )


def _data_uri(path: Path) -> str | None:
    """A thumbnail as a JPEG inside a URI; ``None`` where the file has gone."""
    picture = open_file(path)
    if picture is None:
        return None
    picture.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _text(text: str) -> str:
    """For the page's text and for quoted attributes: no markup, no control characters."""
    return escape(visible(text), quote=True)
