"""``reidtune search`` for samples of several modalities: outputs and exit codes."""

import json

import pytest
from PIL import Image

from reidtune.cli.app import run

FOLDERS = {"rgb": "RGB", "nir": "NI", "tir": "TI"}


@pytest.fixture
def triplets(tmp_path):
    folder = tmp_path / "triplets"
    for place, name in enumerate(FOLDERS.values()):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            colour = (60 * number, 250 - 60 * number, 80 * place)
            if (number, name) != (2, "NI"):
                Image.new("RGB", (16, 32), colour).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def search(capsys, triplets, small_backbone):
    """Run the command; returns code, stdout and stderr (its lines joined)."""

    def call(*arguments, folder=triplets):
        backbone = f"--backbone=local-dir:{small_backbone.architecture.folder}"
        code = run(["search", str(folder), backbone, *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, " ".join(printed.err.split())

    return call


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (16, 32), (90, 160, 0)).save(tmp_path / "q=1.png")
    return tmp_path / "q=1.png"


def test_a_table_says_which_modalities_a_sample_has(search, picture, multimodal_delta):
    delta = multimodal_delta()
    code, out, err = search("--delta", delta, "--image", f"rgb={picture}", "--image", f"TI={picture}")
    assert (code, err) == (0, "Index of 4 samples: 4 new.")
    lines = out.splitlines()
    assert lines[0].split() == ["rank", "score", "sample", "modalities"]
    rows = {line.split()[2]: line.split(maxsplit=3)[3].strip() for line in lines[2:6]}
    assert rows == {f"{number}.png": "rgb, tir" if number == 2 else "rgb, nir, tir" for number in range(4)}
    assert "Best 4 of 4 samples for rgb, tir of q=1.png" in " ".join(out.split())
    assert max(map(len, lines)) <= 80


def test_an_image_without_a_name_and_names_that_files_have(search, picture, multimodal_delta, monkeypatch):
    delta = multimodal_delta()
    named = json.loads(search("--delta", delta, "--image", f"rgb={picture}", "--json")[1])
    code, out, err = search("--delta", delta, "--image", picture, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["query"] == named["query"]
    assert named["query"]["images"] == {"rgb": str(picture)}
    assert "counts as rgb" in search("--delta", delta, "--image", picture)[2]
    monkeypatch.chdir(picture.parent)
    assert json.loads(search("--delta", delta, "--image", picture.name, "--json")[1])["query"]["images"] == {
        "rgb": picture.name
    }
    assert '"nowhere/q=2.png" does not exist' in search("--delta", delta, "--image", "nowhere/q=2.png")[2]


def test_json_has_every_file(search, triplets, picture, multimodal_delta):
    code, out, _ = search("--delta", multimodal_delta(), "--image", f"nir={picture}", "--text", "x", "--json")
    printed = json.loads(out)
    assert (code, printed["modalities"], printed["query"]["weight"]) == (0, ["rgb", "nir", "tir"], 0.5)
    for row in printed["results"]:
        number = row["path"].rsplit("/", 1)[1]
        expected = {
            name: str(triplets / of / number) for name, of in FOLDERS.items() if (triplets / of / number).exists()
        }
        assert row["paths"] == expected


def test_sheets_show_all_modalities(search, tmp_path, picture, multimodal_delta):
    arguments = ("--delta", multimodal_delta(), "--image", f"nir={picture}", "--sheet")
    assert search(*arguments, tmp_path / "a.html")[0] == 0
    assert (tmp_path / "a.html").read_text().count("data:image/jpeg") == 1 + 11
    assert search(*arguments, tmp_path / "a.png")[0] == 0
    assert Image.open(tmp_path / "a.png").width > 4 * 3 * 90


def test_a_folder_of_one_modality(search, triplets, picture, multimodal_delta):
    delta = multimodal_delta()
    code, out, err = search("--delta", delta, "--image", picture, "--modality", "thermal", folder=triplets / "RGB")
    assert code == 0
    assert "counts as tir" not in err
    assert [line.split()[3] for line in out.splitlines()[2:6]] == ["tir"] * 4
    assert (
        "Every image counts as nir, as the folder is called so"
        in search("--delta", delta, "--text", "x", folder=triplets / "NI")[2]
    )


def test_a_backbone_alone_searches_samples_when_images_are_named(search, triplets, picture, tmp_path):
    code, out, err = search("--image", f"rgb={picture}", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["modalities"] == ["rgb", "nir", "tir"]
    code, out, err = search("--image", picture)
    assert code == 0
    assert "Best 10 of 11 images" in " ".join(out.split())
    assert "to search samples, name the query's images, as in --image rgb=FILE" in err
    code, out, _ = search("--image", f"rgb={picture}", "--modality", "nir", "--json", folder=triplets / "TI")
    assert json.loads(out)["modalities"] == ["rgb", "nir"]
    code, _, err = search("--image", f"rgbb={picture}", folder=triplets / "TI")
    assert code == 2
    assert 'Did you mean "rgb"?' in err


def test_the_word_demo_is_the_multimodal_world(search, picture, multimodal_delta, triplets, monkeypatch):
    kinds = []
    monkeypatch.setattr("reidtune.demo.demo_folder", lambda kind: kinds.append(kind) or triplets)
    for arguments in (["--delta", multimodal_delta()], []):
        assert search(*arguments, "--image", f"rgb={picture}", folder="demo")[0] == 0
        assert kinds[-1] == "multimodal"
    assert search("--image", picture, folder="demo")[0] == 0
    assert kinds[-1] == "text"


@pytest.mark.parametrize(
    ("images", "code", "sentence"),
    [
        (["depth={}"], 2, 'knows no modality "depth"'),
        (["rgb={}", "rgb={}"], 2, "two images of rgb. Give one of each modality: --image rgb=FILE"),
        (["{}", "{}"], 2, "two images without a name"),
        (["rgb={}", "VIS={}"], 2, "two images of the modality rgb"),
        (["rgb="], 2, "rgb= names no file"),
        (["nir=nope.jpg"], 4, "nope.jpg"),
    ],
)
def test_queries_that_cannot_be(search, triplets, picture, multimodal_delta, images, code, sentence):
    options = [part for image in images for part in ("--image", image.format(picture))]
    found, out, err = search("--delta", multimodal_delta(), *options)
    assert (found, out) == (code, "")
    assert sentence in err
    assert not (triplets / ".reidtune").exists()


def test_help_says_what_an_image_without_a_name_is(capsys):
    assert run(["search", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Without a name it is the first modality of the model" in printed
