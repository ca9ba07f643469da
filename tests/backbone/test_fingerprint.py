import json
import os

import pytest
import torch
from safetensors.torch import save_file

from reidtune.backbone.fingerprint import file_tensor_hashes, fingerprint, tensor_hashes
from reidtune.backbone.load import load_backbone


def test_half_precision_values_and_their_fp32_copy_agree():
    half = {"a": torch.randn(4, 3).half(), "b": torch.randn(5).half()}
    single = {name: value.float() for name, value in half.items()}
    assert tensor_hashes(half) == tensor_hashes(single)


def test_values_and_shapes_count():
    value = torch.randn(6)
    changed = value.clone()
    changed[3] += 1e-6
    hashes = [tensor_hashes({"a": tensor})["a"] for tensor in (value, changed, value.reshape(2, 3))]
    assert len(set(hashes)) == 3


def test_digest_covers_tensors_and_switches():
    one = fingerprint({"a": "1"}, {"activation": "gelu"})
    assert one["digest"] != fingerprint({"a": "2"}, {"activation": "gelu"})["digest"]
    assert one["digest"] != fingerprint({"a": "1"}, {"activation": "quick_gelu"})["digest"]
    assert one == fingerprint({"a": "1"}, {"activation": "gelu"})


def test_a_file_is_hashed_once_and_again_when_it_changes(tmp_path, cache):
    path = tmp_path / "weights.safetensors"
    state = {"a": torch.randn(4)}
    save_file(state, path)
    first = file_tensor_hashes(path, state)
    assert first == tensor_hashes(state)
    store = cache / "fingerprints.json"
    known = json.loads(store.read_text())
    key = next(key for key in known if str(path) in key)
    known[key] = {"a": "remembered"}
    store.write_text(json.dumps(known))
    assert file_tensor_hashes(path, state) == {"a": "remembered"}
    other = {"a": torch.randn(4), "b": torch.randn(9)}
    save_file(other, path)
    assert file_tensor_hashes(path, other) == tensor_hashes(other)


def test_weights_of_the_same_size_and_time_are_hashed_anew(tmp_path):
    path = tmp_path / "weights.safetensors"
    for state in ({"a": torch.randn(4)}, {"a": torch.randn(4)}):
        save_file(state, path)
        os.utime(path, (0, 0))  # as an archive is unpacked
        assert file_tensor_hashes(path, state) == tensor_hashes(state)


@pytest.mark.parametrize("content", ["{broken", "[]"])
def test_a_broken_cache_costs_nothing(tmp_path, cache, content):
    (cache / "fingerprints.json").write_text(content)
    path = tmp_path / "weights.safetensors"
    state = {"a": torch.randn(4)}
    save_file(state, path)
    assert file_tensor_hashes(path, state) == tensor_hashes(state)


def test_the_image_size_is_a_switch_and_the_weights_are_hashed_before_the_resize():
    native, small = (load_backbone("ViT-S-32", "none", image_size=size) for size in (None, (64, 32)))
    assert native.fingerprint["tensors"] == small.fingerprint["tensors"]
    assert native.fingerprint["digest"] != small.fingerprint["digest"]
    assert small.fingerprint["switches"]["image_size"] == [64, 32]
    assert small.model.visual.positional_embedding.shape == (3, small.image.width)
