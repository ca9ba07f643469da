"""Making a training ready: settings checked, data listed, backbone loaded, tuner built. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reidtune.backbone.load import check_choice, load_backbone
from reidtune.camera_names import names_for
from reidtune.cameras import complete_cameras
from reidtune.config import RunConfig, validate_settings
from reidtune.data import check_files, require_split
from reidtune.data.captions import one_caption_each
from reidtune.data.depth import look_at_some
from reidtune.data.join import open_datasets
from reidtune.data.record import Dataset, Record, cameras, identities
from reidtune.data.scan import show
from reidtune.data.split import carve
from reidtune.devices import check_precision, choose_device
from reidtune.errors import SettingsError
from reidtune.methods.base import Facts, Method
from reidtune.methods.registry import find_method
from reidtune.metric_losses import check_installed
from reidtune.model import Model, default_backbone
from reidtune.retrieval.validate import validation_protocol
from reidtune.seeds import seeded
from reidtune.team import ALONE, Team
from reidtune.training.find_frozen import find_frozen, find_frozen_validation
from reidtune.training.frozen import Frozen
from reidtune.training.schedule import sampler_for

FEW_IDENTITIES = 10  # to validate on


@dataclass
class Prepared:
    """A training that could start: everything resolved and checked, nothing written yet."""

    config: RunConfig
    dataset: Dataset
    method: Method
    model: Model
    train: list[Record]  # the samples: of one caption each for text data
    validation: list[Record]
    protocol: str  # of the validation
    carved: bool  # the validation identities come from the training split
    frozen: Frozen  # what of the training is computed once, if anything
    frozen_validation: Frozen  # and of the validations
    heads: int  # bytes of the objective's own tensors that are trained


def prepare(
    sources: Sequence[str],
    config: RunConfig,
    say: Callable[[str], None] = lambda sentence: None,
    dataset: Dataset | None = None,
    team: Team = ALONE,
) -> Prepared:
    """Open the data, several ``sources`` joined (``dataset`` where it is listed already), check every file's header,
    load the backbone, build the tuner. Of a ``team``, the first process downloads weights, and each has its device.

    Raises:
        DataError: the data is missing or bad. SettingsError: settings that do not fit. ReidtuneError: no weights.
    """
    page = find_method(config.method)
    if page.name == "zero-shot":
        raise SettingsError("zero-shot has nothing to train.", f"Use: reidtune evaluate {sources[0]}")
    check_installed(config.loss.metric)
    settings = validate_settings(page.Settings, config.settings)
    data, chosen = config.data, config.backbone
    check_choice(chosen.name or default_backbone(*sources), chosen.pretrained, chosen.image_size)
    dataset = dataset or open_datasets(sources, data.layout, data.protocol, data.columns)
    say(dataset.sentence)
    require_split(dataset, "train")
    if dataset.task not in page.tasks:
        raise SettingsError(
            f"The method {page.name} is for {' and '.join(page.tasks)} data, but this is {dataset.task} data.",
            "See: reidtune methods",
        )
    usable = [record for record in dataset.train if record.identity > 0]
    texts = dataset.task == "text"
    carved = not (dataset.validation and config.data.validation_fraction > 0)
    if carved:
        fraction, needed = config.data.validation_fraction, 1 if texts else 2
        rest, validation = carve(dataset, usable, fraction, config.seed, needed, say)
    else:
        rest, validation = usable, list(dataset.validation)
    settings = complete_cameras(settings, dataset.task, rest, validation, joined=bool(dataset.parts))
    if 0 < (few := len(identities(validation))) < FEW_IDENTITIES:
        say(f"Validation has {few} identities: so few choose an epoch, but between settings they choose by chance.")
    if texts:
        rest = one_caption_each(rest)
    sampler_for(rest, config)  # a batch that cannot be filled is said before anything slow happens
    check_files([*usable, *(() if carved else validation)])
    if dark := look_at_some(usable):
        say(f"Careful: {dark}; convert them to 8 bits first, all by the same range.")
    device = team.device or choose_device(config.training.device)
    with team.first_then_others():
        backbone = load_backbone(
            chosen.name or default_backbone(*sources),
            chosen.pretrained,
            image_size=chosen.image_size,
            resize=chosen.resize,
            activation=chosen.activation,
            device=device,
        )
    check_precision(config.training.precision, device)
    facts = Facts(dataset.task, config.data.noun, len(identities(rest)), len(cameras(rest)), dataset.modalities)
    method = page(page.complete(settings, facts))
    model = Model(backbone, method.tuner(backbone, config.seed))
    model.modalities = dataset.modalities
    with seeded(0):  # says what does not fit, and draws weights
        objective = method.objective(
            model.tuner, backbone, facts.identities, config.loss, dataset.task, dataset.modalities
        )
    heads = sum(parameter.numel() * parameter.element_size() for parameter in objective.parameters())
    protocol = dataset.protocol if texts else validation_protocol(validation, dataset.protocol)
    once = find_frozen(config, method, model, rest), find_frozen_validation(config, model, validation)
    for frozen in once:
        if sentence := frozen.sentence():
            say(sentence)
    return Prepared(config, dataset, method, model, rest, validation, protocol, carved, *once, heads)


def delta_header(prepared: Prepared, metrics: dict[str, Any]) -> dict[str, Any]:
    """What the delta of this training says of itself; no paths, times or devices."""
    dataset, config = prepared.dataset, prepared.config
    validation_identities = sorted(identities(prepared.validation))
    names = dataset.identity_names
    return {
        "method": prepared.method.name,
        "settings": prepared.method.settings.model_dump(mode="json"),
        "backbone": prepared.model.backbone.describe(),
        "preprocess": prepared.model.backbone.preprocess.to_json(),
        "task": dataset.task,
        "protocol": dataset.protocol,
        "data": {
            **dataset.manifest(),
            "validation": {
                "split": "training identities" if prepared.carved else "the layout's own",
                "fraction": config.data.validation_fraction,
                "seed": config.seed,
                "identities": [show(names.get(identity, str(identity))) for identity in validation_identities],
            },
            "noun": config.data.noun,
            **names_for(prepared.method.settings.model_dump(), dataset),
        },
        "metrics": metrics,
    }
