import json

import open_clip
import pytest
import torch
from safetensors import safe_open

from reidtune.demo.tiny import (
    EMBEDDING,
    FILE,
    ROWS,
    TINY_CONFIG,
    TINY_MEAN,
    TINY_STD,
    initial_token_rows,
    tiny_state_dict,
)


@pytest.fixture(scope="module")
def state():
    return tiny_state_dict()


def test_it_loads_strictly_into_open_clip(state):
    model = open_clip.CLIP(**TINY_CONFIG)
    model.load_state_dict(state, strict=True)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in state.values())
    height, width = TINY_CONFIG["vision_cfg"]["image_size"]
    assert height > width
    with torch.no_grad():
        feature = model.eval().encode_image(torch.zeros(1, 3, height, width))
        text = model.encode_text(open_clip.get_tokenizer("ViT-B-32")(["a man"]))
    assert feature.shape == text.shape == (1, TINY_CONFIG["embed_dim"])


def test_token_rows_that_training_did_not_touch_come_from_the_seed(state):
    with safe_open(FILE, "pt") as file:
        touched = file.get_tensor(ROWS).long()
        stored = file.get_tensor(EMBEDDING)
    untouched = torch.ones(49408, dtype=torch.bool)
    untouched[touched] = False
    start = initial_token_rows()
    assert 100 < len(touched) < 2000 and stored.shape == (len(touched), 128)
    assert torch.equal(state[EMBEDDING][untouched], start[untouched])
    assert torch.equal(state[EMBEDDING][touched], stored.float())
    assert start.std().item() == pytest.approx(0.02, rel=0.01)
    # the same bits on every platform and version: if these change, deltas made before do not fit any more
    assert start[:2, 0].tolist() == [0.0019034164724871516, -0.00910954736173153]


def test_every_word_of_the_demo_captions_was_trained(small_world):
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    with safe_open(FILE, "pt") as file:
        touched = set(file.get_tensor(ROWS).tolist())
    lines = [line for e in json.loads((small_world / "text" / "reid_raw.json").read_text()) for line in e["captions"]]
    assert set(tokenizer(lines).flatten().tolist()) <= touched


def test_the_file_is_small():
    assert FILE.stat().st_size <= 8_000_000
    assert len(TINY_MEAN) == len(TINY_STD) == 3
