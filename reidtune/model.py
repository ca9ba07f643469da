"""A backbone with a tuner: what embeds images and texts. The public entry is :func:`load`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.backbone.architecture import TINY
from reidtune.backbone.load import Backbone, load_backbone
from reidtune.backbone.preprocess import Preprocess
from reidtune.backbone.walk import Walk
from reidtune.backbone.weights import looks_like_file
from reidtune.cameras import KNOWN, cameras_of, check_use
from reidtune.config import parse_image_size, validate_settings
from reidtune.data.batch import Batch
from reidtune.data.transforms import EvalTransform
from reidtune.delta import DeltaHeader, check_backbone, find_delta, read_header, read_tensors
from reidtune.devices import choose_device
from reidtune.errors import SettingsError
from reidtune.fusion import by_sample, join, modality_walk, present_of
from reidtune.inputs import (
    ImageLike,
    as_cameras,
    as_images,
    as_modalities,
    as_samples,
    as_texts,
    chunks,
    open_image,
    stack_samples,
)
from reidtune.methods.registry import find_method
from reidtune.seeds import derive_seed
from reidtune.tuning.camera_embedding import CameraEmbedding
from reidtune.tuning.tuner import Tuner

DEFAULT_BACKBONE = "ViT-B-16"
_TEXT_SEED = derive_seed("text tower")


class Model:
    """A frozen backbone and a tuner (an empty one: zero-shot).

    Attributes: ``backbone``, ``tuner``, ``header`` (what the delta says of itself; ``None`` without a delta) and
    ``path`` (the delta file). Features are those of ``encode_image`` / ``encode_text`` after the projection.
    ``modalities`` are those of multi-modal samples, whose features are joined in this order; empty: single images.
    ``cameras`` are those that the delta has embeddings of, ``None`` without; :meth:`use_cameras` says what is done.
    """

    def __init__(
        self,
        backbone: Backbone,
        tuner: Tuner | None = None,
        header: DeltaHeader | None = None,
        path: Path | None = None,
        modalities: tuple[str, ...] = (),
    ) -> None:
        self.backbone = backbone
        self.tuner = (tuner or Tuner()).to(backbone.device).eval()
        self.header = header
        self.path = path
        own = None if header is None else header.data.get("modalities")
        self.cameras = None if header is None else cameras_of(header.settings, header.data)
        self.camera_use = KNOWN
        self.modalities: tuple[str, ...] = modalities or (tuple(own) if isinstance(own, list | tuple) else ())

    def describe(self) -> dict[str, Any]:
        """``backbone`` and ``delta`` (``None`` without one), as the JSON of commands has them."""
        own, header = self.backbone.describe(), self.header
        return {
            "backbone": {
                "name": own["name"],
                "pretrained": own["pretrained"],
                "fingerprint": own["fingerprint"]["digest"],
            },
            "delta": None
            if header is None
            else {"path": str(self.path), "method": header.method, "digest": header.digest},
        }

    def use_cameras(self, use: str) -> None:
        """What is added to an image: ``known``, the embedding of its camera, as while training; ``mean``, the mean of
        all; ``none``. Nothing changes where the delta has no such embeddings."""
        check_use(use)
        self.camera_use = use
        for component in self.tuner.components().values():
            if isinstance(component, CameraEmbedding):
                component.use = use

    def encode(self, batch: Batch) -> Tensor:
        """Features of a batch's images, not normalised: [B, D], or [B, M · D] of samples of M modalities;
        differentiable in the tuner."""
        batch = batch.to(self.backbone.device)
        if self.has_samples(batch):
            return join(self.encode_modalities(batch), present_of(batch))
        return self.encode_inputs(batch, image_walk(batch))

    def has_samples(self, batch: Batch) -> bool:
        """Whether the batch is one of samples of several modalities."""
        return bool(self.modalities) if batch.images is None else batch.images.ndim == 5

    def encode_inputs(self, batch: Batch, walk: Walk) -> Tensor:
        """Features [B, D] of the batch's images, or of what stands for them."""
        assert batch.inputs is not None
        return (self.encode_frozen if batch.images is None else self.encode_images)(batch.inputs, walk)

    def encode_modalities(self, batch: Batch, walk: Walk | None = None, images: Tensor | None = None) -> Tensor:
        """Features [B, M, D] of images [B, M, 3, H, W], zeros where a modality is missing. All images go through the
        tower as one batch; ``walk`` and ``images`` are those of :func:`reidtune.fusion.modality_walk` where the caller
        needs what components leave."""
        assert batch.inputs is not None
        if walk is None or images is None:
            images, walk = modality_walk(batch)
        encode = self.encode_frozen if batch.images is None else self.encode_images
        return by_sample(encode(images, walk), walk, *batch.inputs.shape[:2])

    def encode_images(self, images: Tensor, walk: Walk | None = None) -> Tensor:
        """Preprocessed images [B, 3, H, W] → features [B, D], not normalised; differentiable in the tuner.

        ``walk`` says what is known of the images, and afterwards holds what components left.
        """
        return self.backbone.image(images.to(self.backbone.device), self.tuner, walk)

    def encode_frozen(self, rows: Tensor, walk: Walk) -> Tensor:
        """What the frozen part of the image tower made of images, see :class:`reidtune.data.batch.Batch`, → features
        [B, D], not normalised; differentiable in the tuner."""
        tower = self.backbone.image
        rows, block = rows.to(self.backbone.device), self.tuner.first_block(tower)
        if block <= tower.layers:
            return tower.from_block(rows, self.tuner, walk, block)
        walk.tower = tower
        return self.tuner.pool(walk, rows[:, None], rows)  # whoever acts here reads the feature alone

    def encode_texts(self, ids: Tensor, walk: Walk | None = None) -> Tensor:
        """Token ids [B, T] → features [B, D], not normalised; differentiable in the tuner."""
        return self.backbone.text(ids.to(self.backbone.device), self.tuner, walk)

    @torch.no_grad()
    def embed_images(
        self, images: Iterable[ImageLike], batch_size: int = 64, cameras: Sequence[int] | None = None
    ) -> Tensor:
        """Features of images, L2-normalised: Tensor [N, D], float32, on the CPU.

        Args:
            images: paths, PIL images, or uint8 tensors [3, H, W] or [N, 3, H, W], of any size.
            cameras: the camera (or scene) of each image, for a delta with embeddings of them.

        Raises:
            DataError: an image cannot be read (it is named).
            SettingsError: something that is no image was given, a batch size below 1, the model's delta tells
                modalities apart (see :meth:`embed_samples`), or it has embeddings of cameras and these are not given,
                or others (see :meth:`use_cameras`).
        """
        if self.modalities and self.header is not None and self.header.data.get("modalities"):
            raise SettingsError(
                f"The delta embeds samples of several images: {', '.join(self.modalities)}.",
                f'Say which image is which: model.embed_samples([{{"{self.modalities[0]}": "a.jpg"}}]).',
            )
        transform = EvalTransform(self.backbone.preprocess)
        features: list[Tensor] = []
        given = as_images(images)
        places = as_cameras(cameras, len(given), batch_size)
        for chunk, known in zip(chunks(given, batch_size), places, strict=True):
            batch = Batch(torch.stack([transform(open_image(image)) for image in chunk]), known, scenes=known)
            features.append(F.normalize(self.encode(batch).float(), dim=-1).cpu())
        return torch.cat(features) if features else torch.empty(0, self.tuner.feature_width(self.backbone.image))

    @torch.no_grad()
    def embed_samples(
        self,
        samples: Iterable[Mapping[str, ImageLike]],
        batch_size: int = 64,
        cameras: Sequence[int] | None = None,
    ) -> Tensor:
        """Features of samples of several modalities, L2-normalised: Tensor [N, M · D], float32, on the CPU.

        The features of a sample's M modalities stand side by side in the order of ``modalities``, zeros where one is
        missing; :func:`reidtune.rank` does not take them for features when it is told ``pieces=M``.

        Args:
            samples: a mapping each, from the names of modalities (``rgb``, also ``vis``, ``NI``, ``thermal``) to images
                as :meth:`embed_images` takes them. Some may be missing in a sample, not all.
            cameras: the camera (or scene) of each sample, as in :meth:`embed_images`.

        Raises:
            DataError: an image cannot be read (it is named).
            SettingsError: the model has no modalities, does not know one, a sample has none, something that is no
                image was given, or a batch size below 1.
        """
        names = self.modalities
        if not names:
            raise SettingsError(
                "This model embeds single images: it has no modalities.",
                'Use embed_images, or name them: reidtune.load(..., modalities=("rgb", "nir", "tir")).',
            )
        transform = EvalTransform(self.backbone.preprocess)
        features: list[Tensor] = []
        given = as_samples(samples, names)
        places = as_cameras(cameras, len(given), batch_size)
        for chunk, known in zip(chunks(given, batch_size), places, strict=True):
            rows = [{name: transform(open_image(image)) for name, image in sample.items()} for sample in chunk]
            images, present = stack_samples(rows, names)
            batch = Batch(images, known, present=present, scenes=known)
            features.append(F.normalize(self.encode(batch).float(), dim=-1).cpu())
        return torch.cat(features) if features else torch.empty(0, self.image_width)

    @property
    def image_width(self) -> int:
        """Columns of a feature of images: D, or M · D of samples of M modalities."""
        return self.tuner.feature_width(self.backbone.image) * max(1, len(self.modalities))

    @torch.no_grad()
    def embed_texts(self, texts: Iterable[str], batch_size: int = 256) -> Tensor:
        """Features of texts, L2-normalised: Tensor [N, D], float32, on the CPU. Long texts keep their end token.

        Raises:
            SettingsError: something that is no text was given, or a batch size below 1.
        """
        features: list[Tensor] = []
        for chunk in chunks(as_texts(texts), batch_size):
            encoded = self.encode_texts(self.backbone.tokenizer(chunk))
            features.append(F.normalize(encoded.float(), dim=-1).cpu())
        return torch.cat(features) if features else torch.empty(0, self.tuner.feature_width(self.backbone.text))


def image_walk(batch: Batch) -> Walk:
    """A walk of the image tower that knows what the batch knows."""
    return Walk(seeds=batch.seeds, labels=batch.labels, cameras=batch.cameras, scenes=batch.scenes)


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
    modalities: str | Iterable[str] = (),
    cameras: str = KNOWN,
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
        modalities: what samples consist of, such as ``("rgb", "nir", "tir")``, for a backbone or a delta that knows
            nothing of modalities; a delta trained on multi-modal data brings its own.
        cameras: what a delta with embeddings of cameras does with them; see :meth:`Model.use_cameras`.

    Raises:
        DeltaError: the delta is damaged or does not fit the backbone; the first difference is named.
        SettingsError: delta, backbone, pretrained tag or device does not exist.
    """
    if isinstance(device, str):
        device = choose_device(device)
    if isinstance(image_size, str):
        image_size = parse_image_size(image_size)
    check_use(cameras)
    named = as_modalities(modalities) if modalities else ()
    if delta is None:
        found = load_backbone(
            backbone or DEFAULT_BACKBONE, pretrained, image_size=image_size, activation=activation, device=device
        )
        return Model(found, modalities=named)
    path = find_delta(delta)
    header, tensors = read_header(path), read_tensors(path)  # damage is said before a backbone is loaded
    if named and header.data.get("modalities"):
        raise SettingsError(
            f"The delta brings its own modalities: {', '.join(header.data['modalities'])}.", "Leave modalities out."
        )
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
    model = Model(found, tuner, header, path, named)
    model.use_cameras(cameras)
    return model


def default_backbone(*sources: str) -> str:
    """``tiny`` for the demo world (for nothing but demo worlds), else open_clip's ViT-B-16."""
    demo = all(source == "demo" or source.startswith("demo:") for source in sources)
    return TINY if demo else DEFAULT_BACKBONE


def tuner_for(backbone: Backbone, method: str, settings: dict[str, Any]) -> Tuner:
    """The (untrained) tuner of a method with these settings on this backbone."""
    page = find_method(method)
    return page(validate_settings(page.Settings, settings)).tuner(backbone)
