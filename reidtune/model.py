"""A backbone with a tuner: what embeds images and texts. The public entry is :func:`load`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reidtune.backbone.architecture import TINY
from reidtune.backbone.load import Backbone, load_backbone
from reidtune.backbone.preprocess import Preprocess
from reidtune.backbone.walk import Walk
from reidtune.backbone.weights import looks_like_file
from reidtune.config import parse_image_size, validate_settings
from reidtune.data.batch import Batch
from reidtune.data.image import read_image, to_rgb
from reidtune.data.record import ImageFile
from reidtune.data.transforms import EvalTransform
from reidtune.delta import DeltaHeader, check_backbone, find_delta, read_header, read_tensors
from reidtune.devices import choose_device
from reidtune.errors import SettingsError
from reidtune.fusion import by_sample, join, modality_walk, present_of
from reidtune.methods.registry import find_method
from reidtune.seeds import derive_seed
from reidtune.tuning.tuner import Tuner

ImageLike = str | Path | Image.Image | Tensor
DEFAULT_BACKBONE = "ViT-B-16"
_TEXT_SEED = derive_seed("text tower")
_IMAGES_HINT = "Give paths, PIL images, or uint8 tensors [3, height, width]."


class Model:
    """A frozen backbone and a tuner (an empty one: zero-shot).

    Attributes: ``backbone``, ``tuner``, ``header`` (what the delta says of itself; ``None`` without a delta) and
    ``path`` (the delta file). Features are those of ``encode_image`` / ``encode_text`` after the projection.
    ``modalities`` are those of multi-modal samples, whose features are joined in this order; empty: single images.
    """

    def __init__(
        self,
        backbone: Backbone,
        tuner: Tuner | None = None,
        header: DeltaHeader | None = None,
        path: Path | None = None,
    ) -> None:
        self.backbone = backbone
        self.tuner = (tuner or Tuner()).to(backbone.device).eval()
        self.header = header
        self.path = path
        self.modalities: tuple[str, ...] = tuple(header.data.get("modalities", ())) if header is not None else ()

    def encode(self, batch: Batch) -> Tensor:
        """Features of a batch's images, not normalised: [B, D], or [B, M · D] of samples of M modalities;
        differentiable in the tuner."""
        batch = batch.to(self.backbone.device)
        assert batch.images is not None
        if batch.images.ndim == 5:
            return join(self.encode_modalities(batch), present_of(batch))
        return self.encode_images(batch.images, image_walk(batch))

    def encode_modalities(self, batch: Batch, walk: Walk | None = None, images: Tensor | None = None) -> Tensor:
        """Features [B, M, D] of images [B, M, 3, H, W], zeros where a modality is missing. All images go through the
        tower as one batch; ``walk`` and ``images`` are those of :func:`reidtune.fusion.modality_walk` where the caller
        needs what components leave."""
        assert batch.images is not None
        if walk is None or images is None:
            images, walk = modality_walk(batch)
        return by_sample(self.encode_images(images, walk), walk, *batch.images.shape[:2])

    def encode_images(self, images: Tensor, walk: Walk | None = None) -> Tensor:
        """Preprocessed images [B, 3, H, W] → features [B, D], not normalised; differentiable in the tuner.

        ``walk`` says what is known of the images, and afterwards holds what components left.
        """
        return self.backbone.image(images.to(self.backbone.device), self.tuner, walk)

    def encode_texts(self, ids: Tensor, walk: Walk | None = None) -> Tensor:
        """Token ids [B, T] → features [B, D], not normalised; differentiable in the tuner."""
        return self.backbone.text(ids.to(self.backbone.device), self.tuner, walk)

    @torch.no_grad()
    def embed_images(self, images: Iterable[ImageLike], batch_size: int = 64) -> Tensor:
        """Features of images, L2-normalised: Tensor [N, D], float32, on the CPU.

        Args:
            images: paths, PIL images, or uint8 tensors [3, H, W] or [N, 3, H, W], of any size.

        Raises:
            DataError: an image cannot be read (it is named).
            SettingsError: something that is no image was given, or a batch size below 1.
        """
        transform = EvalTransform(self.backbone.preprocess)
        features: list[Tensor] = []
        for chunk in _chunks(_as_images(images), batch_size):
            batch = torch.stack([transform(_open(image)) for image in chunk])
            features.append(F.normalize(self.encode_images(batch).float(), dim=-1).cpu())
        return torch.cat(features) if features else torch.empty(0, self.tuner.feature_width(self.backbone.image))

    @torch.no_grad()
    def embed_texts(self, texts: Iterable[str], batch_size: int = 256) -> Tensor:
        """Features of texts, L2-normalised: Tensor [N, D], float32, on the CPU. Long texts keep their end token.

        Raises:
            SettingsError: something that is no text was given, or a batch size below 1.
        """
        features: list[Tensor] = []
        for chunk in _chunks(_as_texts(texts), batch_size):
            encoded = self.encode_texts(self.backbone.tokenizer(chunk))
            features.append(F.normalize(encoded.float(), dim=-1).cpu())
        return torch.cat(features) if features else torch.empty(0, self.tuner.feature_width(self.backbone.text))


def image_walk(batch: Batch) -> Walk:
    """A walk of the image tower that knows what the batch knows."""
    return Walk(seeds=batch.seeds, labels=batch.labels, cameras=batch.cameras)


def text_walk(batch: Batch) -> Walk:
    """A walk of the text tower that knows what the batch knows; its dropout is another than the image tower's."""
    seeds = None if batch.seeds is None else batch.seeds ^ _TEXT_SEED
    return Walk(seeds=seeds, labels=batch.labels)


def load(
    delta: str | Path | None = None,
    *,
    backbone: str | None = None,
    pretrained: str | None = None,
    image_size: tuple[int, int] | str | None = None,
    activation: str | None = None,
    device: torch.device | str = "cpu",
) -> Model:
    """Load a delta on its backbone, or a backbone alone.

    Args:
        delta: a delta file or run folder. Its own backbone, image size and switches are used.
        backbone: an open_clip name, ``tiny`` or ``local-dir:FOLDER``; default: the delta's, else ViT-B-16.
        pretrained: a tag or weights file; needed where the delta was trained from a file. The fingerprint decides
            whether it is the right one.
        image_size: height and width in pixels, or ``"256x128"``; only without a delta.
        activation: only where a weights file does not tell.
        device: a torch device, or ``auto``.

    Raises:
        DeltaError: the delta is damaged or does not fit the backbone; the first difference is named.
        SettingsError: delta, backbone, pretrained tag or device does not exist.
    """
    if isinstance(device, str):
        device = choose_device(device)
    if isinstance(image_size, str):
        image_size = parse_image_size(image_size)
    if delta is None:
        found = load_backbone(
            backbone or DEFAULT_BACKBONE, pretrained, image_size=image_size, activation=activation, device=device
        )
        return Model(found)
    path = find_delta(delta)
    header, tensors = read_header(path), read_tensors(path)  # damage is said before a backbone is loaded
    own = header.backbone
    if backbone is None and str(own["name"]).startswith("local-dir:"):
        raise SettingsError(
            f"The delta was trained on the model folder {own['name'].removeprefix('local-dir:')}.",
            "Say where it is: --backbone local-dir:FOLDER.",
        )
    if image_size is not None:
        raise SettingsError("A delta brings its own image size.", "Leave --image-size out.")
    switches = own["fingerprint"]["switches"]
    name = backbone or own["name"]
    if pretrained is None and name == own["name"]:
        pretrained = own["pretrained"]
    if pretrained is not None and backbone is None and looks_like_file(pretrained) and not Path(pretrained).is_file():
        raise SettingsError(
            f"The delta was trained on weights from a file called {pretrained}, which is not here.",
            "Say where your copy is: --pretrained FILE. The fingerprint decides whether it is the right one.",
        )
    found = load_backbone(
        name,
        pretrained,
        preprocess=Preprocess.from_json(header.preprocess),
        resize=switches.get("positional_resize", "bicubic"),
        activation=activation or switches.get("activation"),
        device=device,
    )
    check_backbone(header, found.fingerprint)
    tuner = tuner_for(found, header.method, header.settings)
    tuner.load_tensors(tensors)
    return Model(found, tuner, header, path)


def default_backbone(source: str) -> str:
    """``tiny`` for the demo world, else open_clip's ViT-B-16."""
    return TINY if source == "demo" or source.startswith("demo:") else DEFAULT_BACKBONE


def tuner_for(backbone: Backbone, method: str, settings: dict[str, Any]) -> Tuner:
    """The (untrained) tuner of a method with these settings on this backbone."""
    page = find_method(method)
    return page(validate_settings(page.Settings, settings)).tuner(backbone)


def _as_images(images: Iterable[ImageLike]) -> list[Path | Image.Image]:
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, Tensor) and images.ndim == 3):
        images = [images]
    if not isinstance(images, Iterable):
        raise SettingsError(f"{_describe(images)} is not an image.", _IMAGES_HINT)
    found: list[Path | Image.Image] = []
    for image in images:
        if isinstance(image, str | Path):
            found.append(Path(image))
        elif isinstance(image, Image.Image):
            found.append(image)
        elif isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) == 3:
            found.append(Image.fromarray(image.permute(1, 2, 0).cpu().numpy()))
        else:
            raise SettingsError(f"{_describe(image)} is not an image.", _IMAGES_HINT)
        if isinstance(found[-1], Image.Image) and 0 in found[-1].size:
            raise SettingsError(f"{_describe(image)} has no pixels.", _IMAGES_HINT)
    return found


def _as_texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        return [texts]
    found = list(texts) if isinstance(texts, Iterable) else [texts]
    for text in found:
        if not isinstance(text, str):
            raise SettingsError(f"{_describe(text)} is not a text.", "Give strings.")
    return found


def _open(image: Path | Image.Image) -> Image.Image:
    return read_image(ImageFile(image)) if isinstance(image, Path) else to_rgb(image)


def _describe(image: object) -> str:
    if isinstance(image, Tensor):
        return f"A tensor of shape {tuple(image.shape)} and type {image.dtype}"
    name = type(image).__name__
    return f"{'An' if name[0] in 'aeiouAEIOU' else 'A'} {name}"


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    if size < 1:
        raise SettingsError(f"The batch size is {size}.", "Choose a batch size of at least 1.")
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
