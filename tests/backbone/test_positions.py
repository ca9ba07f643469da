import torch
from safetensors.torch import load_file

from reidtune.backbone.positions import resize_positions


def test_bicubic_and_bilinear_equal_the_reference(golden):
    tensors = load_file(golden / "open_clip_tiny.safetensors")
    source = tensors["clip.visual.positional_embedding"]
    for kind in ("bicubic", "bilinear"):
        resized = resize_positions(source, (14, 14), (24, 8), kind)
        expected = tensors[f"output.tall_{kind}.positional_embedding"]
        assert (resized - expected).abs().max() <= 1e-6


def test_a_grid_of_the_same_count_is_still_resized():
    embedding = torch.arange(65 * 4, dtype=torch.float32).reshape(65, 4)
    resized = resize_positions(embedding, (8, 8), (16, 4), "bicubic")
    assert resized.shape == embedding.shape
    assert not torch.allclose(resized[1:], embedding[1:])


def test_non_square_source_keeps_its_orientation():
    rows = torch.arange(6.0).repeat_interleave(3)[:, None]  # a 6×3 grid that grows downwards only
    embedding = torch.cat([torch.full((1, 1), -1.0), rows])
    resized = resize_positions(embedding, (6, 3), (12, 3), "bilinear")[1:].reshape(12, 3)
    assert torch.allclose(resized, resized[:, :1].expand(-1, 3))
    assert (resized[1:, 0] >= resized[:-1, 0]).all()


def test_the_same_grid_is_untouched():
    embedding = torch.randn(13, 5)
    assert resize_positions(embedding, (4, 3), (4, 3), "bicubic") is embedding
