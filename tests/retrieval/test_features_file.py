"""Files of features: what is written is what NumPy would write, what is read is checked."""

import io
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.retrieval import features_file
from reidtune.retrieval.features_file import FeatureWriter, check_target, npy_header, read_features


@pytest.fixture
def values():
    return np.random.default_rng(3).standard_normal((7, 5)).astype(np.float32)


def write(path, values, step=3):
    with FeatureWriter(path, ("path", "camera")) as writer:
        for start in range(0, len(values), step):
            part = values[start : start + step]
            writer.append(part, [(f'{row}, \n"é\udcff', "1") for row in range(start, start + len(part))])


def test_the_file_is_byte_for_byte_that_of_numpy(values, tmp_path):
    write(tmp_path / "a.npy", values)
    expected = io.BytesIO()
    np.save(expected, values)
    assert (tmp_path / "a.npy").read_bytes() == expected.getvalue()
    lines = (tmp_path / "a.csv").read_bytes().decode("utf-8")
    assert lines.startswith('path,camera\n"0, \n""é\\xff",1\n"1, ')
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.npy"]
    for rows in (1, 999_999_999_999):
        assert len(npy_header(rows, 4096)) == 128


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_an_error_leaves_nothing_new_and_the_old(values, tmp_path, error):
    write(tmp_path / "a.npy", values[:2])
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(error), FeatureWriter(tmp_path / "a.npy", ("path",)) as writer:
        writer.append(values, [("x",)] * 7)
        raise error("stop")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_no_row_is_no_file(tmp_path):
    with FeatureWriter(tmp_path / "a.npy", ("path",)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_targets(tmp_path):
    check_target(tmp_path / "new" / "a.npy", force=False)
    (tmp_path / "b.csv").touch()
    with pytest.raises(SettingsError, match="b.csv exists"):
        check_target(tmp_path / "b.npy", force=False)
    check_target(tmp_path / "b.npy", force=True)
    (tmp_path / "c.npy").mkdir()
    for name in ("c.npy", "a.csv", "a"):
        with pytest.raises(SettingsError):
            check_target(tmp_path / name, force=True)
    with pytest.raises(ReidtuneError, match="could not be written"), FeatureWriter(tmp_path / "b.csv" / "a.npy", ()):
        pass


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4", np.int8])
def test_arrays_of_any_precision_stay_in_their_file(values, tmp_path, kind):
    wanted = (4 * values).astype(kind)
    np.save(tmp_path / "a.npy", wanted)
    found = read_features(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, wanted)


def test_safetensors(values, tmp_path):
    tensor = torch.from_numpy(values)
    for name, tensors, wanted in (
        ("one", {"anything": tensor.half()}, tensor.half()),
        ("named", {"features": tensor, "ids": torch.arange(7)}, tensor),
        ("brain", {"x": tensor.bfloat16()}, tensor.bfloat16().float()),
    ):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        found = read_features(tmp_path / f"{name}.safetensors")
        assert torch.equal(torch.as_tensor(found).float(), wanted.float())
    save_file({"a": tensor, "b": tensor + 1}, tmp_path / "two.safetensors")
    with pytest.raises(DataError, match="2 tensors .*none of them called features"):
        read_features(tmp_path / "two.safetensors")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_what_is_not_finite_is_named(tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(features_file, "_ENTRIES", 6)  # three rows at a time
    values = np.ones((8, 2))
    values[5, 1] = wrong
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match='a.npy": the features of row 5 '):
        read_features(tmp_path / "a.npy")


def test_damage_is_refused_and_nothing_is_executed(values, tmp_path):
    def run(*_):
        raise AssertionError("executed")

    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    whole = io.BytesIO()
    np.save(whole, values)
    save_file({"a": torch.from_numpy(values)}, tmp_path / "whole.safetensors")
    cases = {
        "cut.npy": whole.getvalue()[:-4],
        "header.npy": whole.getvalue().replace(b"(7, 5)", b"(7, -)"),
        "empty.npy": b"",
        "pickle.npy": pickle.dumps(Trap()),
        "cut.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:-4],
        "features.pt": b"x",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_features(tmp_path / name)
    for name, array in {
        "flat.npy": values[0],
        "cube.npy": values[None],
        "none.npy": values[:0],
        "words.npy": np.array([["a"]]),
        "objects.npy": np.array([[Trap()]], dtype=object),
        "flags.npy": values > 0,
    }.items():
        np.save(tmp_path / name, array)
        with pytest.raises(DataError, match=name):
            read_features(tmp_path / name)
    for missing in (tmp_path / "nowhere.npy", tmp_path):
        with pytest.raises(DataError):
            read_features(missing)
