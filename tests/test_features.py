"""Evaluating features in files: against the ranker called by hand, and what is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reidtune.errors import DataError, SettingsError
from reidtune.features import evaluate_features
from reidtune.retrieval.rank import rank


@pytest.fixture
def made(tmp_path):
    """Write features of 12 queries and 40 gallery images with names as labels; returns arrays and numbers."""
    random = np.random.default_rng(1)
    numbers = {side: random.integers(0, 6, count) for side, count in (("query", 12), ("gallery", 40))}
    cameras = {side: random.integers(0, 3, count) for side, count in (("query", 12), ("gallery", 40))}
    centres = random.standard_normal((6, 8))
    arrays = {}
    for side, ids in numbers.items():
        arrays[side] = (centres[ids] + 1.5 * random.standard_normal((len(ids), 8))).astype(np.float32)
        np.save(tmp_path / f"{side}.npy", arrays[side])
        rows = [f"p{one},c{cam}" for one, cam in zip(ids, cameras[side], strict=True)]
        (tmp_path / f"{side}.csv").write_text("\n".join(["pid,camid", *rows]))
    return arrays, numbers, cameras


@pytest.fixture
def files(tmp_path):
    return [[tmp_path / f"{side}.{ending}" for side in ("query", "gallery")] for ending in ("npy", "csv")]


def by_hand(made, **options):
    arrays, numbers, cameras = made
    return rank(
        arrays["query"],
        arrays["gallery"],
        query_ids=numbers["query"],
        gallery_ids=numbers["gallery"],
        query_cameras=cameras["query"],
        gallery_cameras=cameras["gallery"],
        **options,
    )


@pytest.mark.parametrize("protocol", ["cross-camera", "all"])
@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_the_numbers_are_those_of_the_ranker(made, files, protocol, similarity):
    result = evaluate_features(*files, protocol=protocol, similarity=similarity)
    wanted = by_hand(made, protocol=protocol, similarity=similarity)
    assert result["metrics"] == wanted.metrics()
    assert (result["protocol"], result["features"]["similarity"]) == (protocol, similarity)
    assert result["queries"]["total"] == 12 and result["gallery"]["total"] == 40
    assert result["features"]["query"].endswith("query.npy") and result["features"]["gallery"].endswith("gallery.npy")
    assert by_hand(made, protocol="all").metrics() != by_hand(made, protocol="cross-camera").metrics()


def test_cameras_decide_the_default(made, files):
    assert evaluate_features(*files)["protocol"] == "cross-camera"
    query = files[1][0]
    text = query.read_text()
    query.write_text(text[: text.rindex(",") + 1])  # one camera is unknown
    said = []
    assert evaluate_features(*files, say=said.append)["protocol"] == "all"
    assert said == ["The camera is empty in 1 of 52 rows."]
    with pytest.raises(SettingsError, match="needs the camera of every test image; 1 of 52"):
        evaluate_features(*files, protocol="cross-camera")
    query.write_text(text.replace("camid", "scene"))
    with pytest.raises(SettingsError, match="needs the scene"):
        evaluate_features(*files, protocol="cross-scene")
    files[1][1].write_text(files[1][1].read_text().replace("camid", "scene"))
    metrics = evaluate_features(*files, protocol="cross-scene")["metrics"]
    assert metrics == by_hand(made, protocol="cross-camera").metrics()  # the same rule


def test_one_file_with_splits_is_two_sides(made, files, tmp_path):
    arrays, _, _ = made
    rows = [table.read_text().splitlines()[1:] for table in files[1]]
    mixed = np.concatenate([arrays["gallery"][:7], arrays["query"], arrays["gallery"][7:], np.ones((3, 8), np.float32)])
    np.save(tmp_path / "one.npy", mixed)
    lines = [*(f"{row},gallery" for row in rows[1][:7]), *(f"{row},query" for row in rows[0])]
    lines += [*(f"{row},gallery" for row in rows[1][7:]), *["p1,c1,train"] * 3]
    (tmp_path / "one.csv").write_text("\n".join(["pid,camid,split", *lines]))
    one, two = evaluate_features([tmp_path / "one.npy"], [tmp_path / "one.csv"]), evaluate_features(*files)
    names = dict.fromkeys(("features", "skipped_examples"))  # by file and row
    assert one | names == two | names


def test_one_set_is_query_and_gallery(made, files):
    arrays, numbers, _ = made
    files[1][1].write_text(files[1][1].read_text().replace("camid", "unread"))
    result = evaluate_features(files[0][1:], files[1][1:])
    ids = numbers["gallery"]
    wanted = rank(arrays["gallery"], arrays["gallery"], query_ids=ids, gallery_ids=ids, protocol="leave-one-out")
    assert (result["protocol"], result["metrics"]) == ("leave-one-out", wanted.metrics())
    with pytest.raises(SettingsError, match="would find itself"):
        evaluate_features(files[0][1:], files[1][1:], protocol="all")
    with pytest.raises(SettingsError, match="needs captions and images"):
        evaluate_features(files[0][1:], files[1][1:], protocol="cross-modality")


def test_junk_is_neither_ranked_nor_a_query(made, files):
    arrays, numbers, cameras = made
    for side, table in zip(("query", "gallery"), files[1], strict=True):
        table.write_text(table.read_text().replace("p0,", "-1,"))
        numbers[side][numbers[side] == 0] = -1
    keep = numbers["query"] != -1
    assert not keep.all()
    arrays["query"], numbers["query"] = arrays["query"][keep], numbers["query"][keep]
    cameras["query"] = cameras["query"][keep]
    said = []
    result = evaluate_features(*files, say=said.append)
    wanted = by_hand(made, protocol="cross-camera")
    assert result["metrics"] == wanted.metrics()
    assert result["gallery"]["ignored"] == wanted.ignored > 0
    assert said == [f"Left out of the queries: {(~keep).sum()} junk (identity −1)."]


def test_captions_and_images_both_ways(made, files):
    result = evaluate_features(*files, protocol="cross-modality")
    assert (result["task"], result["metrics"]) == ("text", by_hand(made, protocol="all").metrics())
    back = evaluate_features(*(pair[::-1] for pair in files), protocol="all")
    assert result["image_to_text"]["metrics"] == back["metrics"] != result["metrics"]


def test_other_precisions_and_safetensors(made, files, tmp_path):
    arrays, _, _ = made
    for kind in (np.float16, np.float64):
        np.save(files[0][0], arrays["query"].astype(kind))
        result = evaluate_features(*files)
        assert result["features"]["dtype"] == np.dtype(kind).name
        assert result["metrics"]["mAP"] == pytest.approx(by_hand(made).mean_average_precision, abs=0.02)
    save_file({"features": torch.from_numpy(arrays["query"])}, tmp_path / "query.safetensors")
    files[0][0] = tmp_path / "query.safetensors"
    assert evaluate_features(*files)["metrics"] == by_hand(made).metrics()


def test_skipped_queries_are_named(made, files):
    lines = files[1][0].read_text().splitlines()
    lines[3] = "nobody,c1"
    files[1][0].write_text("\n".join(lines))
    result = evaluate_features(*files, protocol="all")
    assert (result["queries"]["skipped"], result["skipped_examples"]) == (1, ["row 2"])


def test_what_does_not_agree_is_refused(made, files, tmp_path):
    arrays, _, _ = made
    for features, labels in ((files[0], files[1][:1]), ([], []), (files[0] * 2, files[1] * 2), (files[0][:1], [])):
        with pytest.raises(SettingsError, match="--features names"):
            evaluate_features(features, labels)
    for wrong in ({"protocol": "cross-camra"}, {"similarity": "dot"}):
        with pytest.raises(SettingsError):
            evaluate_features(*files, **wrong)
    with pytest.raises(DataError, match='gallery.npy" has 40 features, but .*query.csv" has 12 rows'):
        evaluate_features(files[0][::-1], files[1])
    np.save(files[0][0], arrays["query"][:, :4])
    with pytest.raises(DataError, match='query.npy" have 4 values, those of .*gallery.npy" 8'):
        evaluate_features(*files)
    np.save(files[0][0], arrays["query"])
    files[1][0].write_text("pid\n" + "stranger\n" * 12)
    with pytest.raises(DataError, match="do not occur in the gallery"):
        evaluate_features(*files)
    files[1][0].write_text("pid\n" + "-1\n" * 12)
    with pytest.raises(DataError, match="are junk"):
        evaluate_features(*files)


def test_the_hash_follows_the_labels_alone(made, files):
    arrays, _, _ = made
    before = evaluate_features(*files)["data"]["hash"]
    np.save(files[0][0], 2 * arrays["query"])
    assert evaluate_features(*files)["data"]["hash"] == before
    files[1][0].write_text(files[1][0].read_text().replace("c1", "c2"))
    assert evaluate_features(*files)["data"]["hash"] != before


def test_a_random_gallery_takes_all_rows_as_one_set(made, files, tmp_path):
    arrays, numbers, _ = made
    both = np.concatenate([arrays["query"], arrays["gallery"]])
    ids = np.concatenate([numbers["query"], numbers["gallery"]]) + 1
    wanted = rank(both, both, query_ids=ids, gallery_ids=ids, protocol="random-gallery")
    result = evaluate_features(*files, protocol="random-gallery")
    assert (result["queries"]["total"], result["gallery"]["total"], result["draws"]) == (46, 6, 10)
    assert result["metrics"] == wanted.metrics()
    assert result["deviation"] == wanted.deviation()
    rows = [f"{one},test" for one in ids] + ["-1,test", "3,train"]
    np.save(tmp_path / "one.npy", np.concatenate([both, both[:2]]))
    (tmp_path / "one.csv").write_text("\n".join(["identity,split", *rows]))
    one = evaluate_features([tmp_path / "one.npy"], [tmp_path / "one.csv"], protocol="random-gallery")
    assert one["metrics"] == wanted.metrics()
    (tmp_path / "one.csv").write_text("\n".join(["identity", *["-1"] * 54]))
    with pytest.raises(DataError, match="are junk"):
        evaluate_features([tmp_path / "one.npy"], [tmp_path / "one.csv"], protocol="random-gallery")
