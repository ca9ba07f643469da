import math

import pytest
import torch
import torch.nn.functional as F

from reidtune.losses import modality_contrast


def test_two_images_and_two_texts_by_hand():
    features = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    texts = torch.tensor([[5.0, 0.0], [0.0, 0.1]])
    cosines = [(1.0, 0.0), (0.6, 0.8)]  # of each image with each text
    expected = -sum(math.log(math.exp(2 * row[m]) / sum(math.exp(2 * c) for c in row)) for m, row in enumerate(cosines))
    found = modality_contrast(features, texts, torch.tensor([0, 1]), temperature=0.5)
    assert found.item() == pytest.approx(expected / 2, rel=1e-6)


def test_lengths_do_not_matter_and_the_text_of_the_modality_is_the_target():
    generator = torch.Generator().manual_seed(0)
    features, texts = torch.randn(6, 4, generator=generator), torch.randn(3, 4, generator=generator)
    modality = torch.tensor([0, 0, 1, 1, 2, 2])
    lengths = torch.rand(6, 1, generator=generator) + 0.5
    torch.testing.assert_close(
        modality_contrast(features * lengths, 7 * texts, modality), modality_contrast(features, texts, modality)
    )
    own = modality_contrast(texts, texts, torch.arange(3))
    assert own < 0.1 < modality_contrast(texts, texts, torch.tensor([1, 2, 0]))


def test_half_features_are_read_in_fp32():
    features = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=1).bfloat16()
    texts, modality = torch.eye(8)[:3], torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.autocast("cpu", torch.bfloat16):
        found = modality_contrast(features, texts, modality)
    assert found.dtype == torch.float32
    assert torch.equal(found, modality_contrast(features.float(), texts, modality))
