import os
import subprocess
import sys

import pytest

from reidtune.demo import cache
from reidtune.demo.cache import demo_folder
from reidtune.demo.world import WORLD_VERSION
from reidtune.errors import ReidtuneError, SettingsError


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The cache in a folder of its own, and a world of four people."""
    monkeypatch.setenv("REIDTUNE_CACHE", str(tmp_path / "cache"))
    calls = []

    def render_few(directory, seed=0, kinds=(), progress=None):
        calls.append((seed, *kinds))
        whole(directory, seed=seed, identities=4, kinds=kinds, progress=progress)

    whole = cache.render_world
    monkeypatch.setattr(cache, "render_world", render_few)
    return calls


def test_it_is_rendered_once(small, tmp_path):
    first = demo_folder("text")
    assert first == tmp_path / "cache" / f"demo-world-{WORLD_VERSION}-seed-0" / "text"
    assert (first / "reid_raw.json").is_file()
    assert demo_folder("text") == first
    demo_folder("text", seed=1)
    assert small == [(0, "text"), (1, "text")]


def test_an_interrupted_render_leaves_no_half_folder(small, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("reidtune.demo.world.captions", interrupted)
        with pytest.raises(KeyboardInterrupt):
            demo_folder("text")
    assert list((tmp_path / "cache").rglob("*.jpg")) == []
    assert (demo_folder("text") / "reid_raw.json").is_file()


def test_another_process_may_be_faster(small, tmp_path, monkeypatch):
    from reidtune.demo import world

    render = world._text

    def slow(people, root, progress):
        yield from render(people, root, progress)
        final = root.parent / "text"
        final.mkdir()
        (final / "reid_raw.json").write_text("[]")

    monkeypatch.setattr(world, "_text", slow)
    folder = demo_folder("text")
    assert (folder / "reid_raw.json").read_text() == "[]"
    assert [path.name for path in folder.parent.iterdir()] == ["text"]


def test_unknown_kind():
    with pytest.raises(SettingsError, match='Did you mean "multimodal"'):
        demo_folder("multimodel")


def test_a_cache_that_cannot_be_written_is_explained(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REIDTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ReidtuneError, match="REIDTUNE_CACHE") as caught:
        demo_folder("image")
    assert caught.value.exit_code == 1


def test_rendering_imports_no_torch(tmp_path):
    code = "import sys; from reidtune.demo import demo_folder; demo_folder('text'); print('torch' in sys.modules)"
    where = {**os.environ, "REIDTUNE_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=where)
    assert done.stdout == "False\n"
