"""Loading, fingerprints, deltas and exports of backbones that are not plain CLIP."""

import copy
import json

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from reidtune.backbone.architecture import find_architecture
from reidtune.backbone.load import load_backbone
from reidtune.backbone.preprocess import own_preprocess
from reidtune.backbone.support import image_reason, text_reason
from reidtune.backbone.tokenizer import find_tokenizer
from reidtune.delta import write_delta
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.export.open_clip import export_open_clip
from reidtune.methods.registry import find_method
from reidtune.model import Model, load
from reidtune.tuning.tuner import Tuner
from tests.backbone.families import FAMILIES, OPEN_CLIP, config, folder, inputs, plain, relative

TALL = (48, 16)


def trained(backbone, method="lora", **settings):
    """A tuner in no tensor at its start."""
    page = find_method(method)
    chosen = page(page.Settings(**settings))
    tuner = chosen.tuner(backbone).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in tuner.parameters():
            value += 0.05 * torch.randn(value.shape, generator=generator)
    return chosen, tuner


@pytest.mark.parametrize("name", ["siglip", "eva02", "mobileclip", "coca"])
def test_a_delta_finds_its_backbone_again(tmp_path, header_for, name):
    folder(tmp_path / "model", FAMILIES[name])
    backbone = load_backbone(f"local-dir:{tmp_path / 'model'}", image_size=TALL)
    method, tuner = trained(backbone, rank=2)
    header = header_for(method, backbone)
    write_delta(tmp_path / "delta.safetensors", tuner.tensors(), header)
    model = load(tmp_path / "delta.safetensors", backbone=f"local-dir:{tmp_path / 'model'}")
    images, _ = inputs(backbone)
    with torch.no_grad():
        assert torch.equal(model.encode_images(images), backbone.image(images, tuner))
    state = load_file(tmp_path / "model" / "open_clip_model.safetensors")
    changed = next(name for name in state if "visual" in name and name.endswith(("norm1.weight", "ln_1.weight")))
    state[changed][0] += 1e-3
    save_file(state, tmp_path / "model" / "open_clip_model.safetensors")
    with pytest.raises(ReidtuneError, match=changed.replace(".", r"\.")):
        load(tmp_path / "delta.safetensors", backbone=f"local-dir:{tmp_path / 'model'}")


def test_the_fingerprint_tells_poolings_and_tokenizers_apart(family):
    switches = {name: family(name)[0].fingerprint["switches"] for name in FAMILIES}
    assert switches["clip"]["pooling"] == "cls/eos"
    assert switches["clip"]["tokenizer"] == "clip-bpe"
    assert switches["siglip"]["pooling"] == "attention/last"
    assert switches["worldwide"]["pooling"] == "cls/eos 2"
    assert switches["coca"]["pooling"] == "attention/cls"
    assert "towers" not in switches["clip"]  # plain CLIP has the digest that its deltas were made with
    assert switches["clipa"]["towers"] == [
        "open_clip ViT, GELU(approximate='none'), norm after pool",
        "open_clip, GELU(approximate='none'), both ways",
    ]
    assert "approximate='tanh'" in switches["siglip"]["towers"][1]
    assert "both ways" in switches["clip, both ways"]["towers"][1]


def test_means_of_batch_norms_are_part_of_the_fingerprint_and_their_counts_are_not(family):
    tensors = family("mobileclip")[0].fingerprint["tensors"]
    assert any(name.endswith("running_mean") for name in tensors)
    assert not any(name.endswith("num_batches_tracked") for name in tensors)


@pytest.mark.parametrize("name", ["siglip", "eva02", "pe-core", "vitamin", "clipa", "coca", "clip, sines"])
@pytest.mark.parametrize("tall", [False, True])
def test_a_merged_export_loads_in_plain_open_clip(tmp_path, name, tall):
    folder(tmp_path / "model", FAMILIES[name])
    backbone = load_backbone(f"local-dir:{tmp_path / 'model'}", image_size=TALL if tall else None)
    _, tuner = trained(backbone, rank=2, targets=["q", "v", "fc1"])
    result = export_open_clip(Model(backbone, tuner), tmp_path / "merged")
    assert result["largest_difference"] < 1e-5
    foreign = "timm_model_name" in FAMILIES[name]["vision_cfg"]
    assert result.get("force_image_size") == (list(TALL) if tall and foreign else None)
    again = open_clip.create_model(f"local-dir:{tmp_path / 'merged'}", force_image_size=result.get("force_image_size"))
    images, _ = inputs(backbone)
    with torch.no_grad():
        theirs = again.eval().encode_image(images, normalize=False)
        assert relative(theirs, backbone.image(images, tuner)) < 1e-5
        assert relative(theirs, backbone.image(images, Tuner())) > 1e-3


@pytest.mark.parametrize(("method", "resize"), [("full", "bicubic"), ("lora", "bilinear")])
def test_positions_that_open_clip_would_resize_otherwise_are_not_exported(tmp_path, method, resize):
    folder(tmp_path / "model", FAMILIES["siglip"])
    backbone = load_backbone(f"local-dir:{tmp_path / 'model'}", image_size=TALL, resize=resize)
    _, tuner = trained(backbone, method)
    with pytest.raises(SettingsError, match="builds this image tower for 32x32"):
        export_open_clip(Model(backbone, tuner), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.fixture
def image_only(tmp_path):
    """A folder whose text tower is of Hugging Face transformers, and the plain model that its image tower is of."""
    known = config(OPEN_CLIP)
    model = plain(known)
    foreign = copy.deepcopy(known)
    foreign["text_cfg"] = {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"}
    path = tmp_path / "roberta"
    path.mkdir()
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": foreign}))
    state = {name: value for name, value in model.state_dict().items() if name.startswith(("visual.", "logit_"))}
    save_file({**state, "text.transformer.x": torch.ones(3)}, path / "open_clip_model.safetensors")
    return path, model


def test_an_image_tower_serves_without_its_text_tower(image_only, tmp_path, header_for):
    path, model = image_only
    backbone = load_backbone(f"local-dir:{path}")
    images = torch.randn(2, 3, 32, 16)
    with torch.no_grad():
        expected = model.encode_image(images)
        assert relative(backbone.image(images, Tuner()), expected) < 1e-5
        assert relative(backbone.model.encode_image(images), expected) < 1e-5
    assert set(backbone.fingerprint["tensors"]) == {name for name in model.state_dict() if name.startswith("visual.")}
    method, tuner = trained(backbone)
    write_delta(tmp_path / "delta.safetensors", tuner.tensors(), header_for(method, backbone))
    again = load(tmp_path / "delta.safetensors", backbone=f"local-dir:{path}")
    assert again.embed_images(torch.zeros(3, 8, 8, dtype=torch.uint8)).shape == (1, 24)
    for ask in (
        lambda: again.embed_texts(["a red coat"]),
        lambda: trained(backbone, towers="both"),
        lambda: export_open_clip(again, tmp_path / "merged"),
    ):
        with pytest.raises(SettingsError, match="has no text tower here: its text tower is roberta-base of Hugging"):
            ask()


def test_random_weights_of_an_image_tower_without_a_text_tower(image_only):
    backbone = load_backbone(f"local-dir:{image_only[0]}", "none")
    assert all(name.startswith("visual.") for name in backbone.fingerprint["tensors"])


def test_a_tokenizer_of_the_hub_is_asked_for_when_texts_come(tmp_path):
    chosen = copy.deepcopy(FAMILIES["siglip"])
    chosen["text_cfg"]["hf_tokenizer_name"] = "timm/ViT-B-16-SigLIP"
    folder(tmp_path / "model", chosen)
    backbone = load_backbone(f"local-dir:{tmp_path / 'model'}")
    images, ids = inputs(backbone)
    assert backbone.image(images, Tuner()).shape == backbone.text(ids, Tuner()).shape
    assert backbone.fingerprint["switches"]["tokenizer"] == "timm/ViT-B-16-SigLIP"
    with pytest.raises(ReidtuneError) as error:
        backbone.tokenizer(["a red coat"])
    assert "timm/ViT-B-16-SigLIP" in error.value.message
    assert "Its image tower works without" in error.value.hint or "pip install 'reidtune[hf]'" in error.value.hint


def test_old_names_of_a_text_tower_and_a_missing_bias_are_understood(tmp_path):
    model = folder(tmp_path / "model", FAMILIES["clip, custom text"])
    path = tmp_path / "model" / "open_clip_model.safetensors"
    state = {name.removeprefix("text."): value for name, value in load_file(path).items() if name != "logit_bias"}
    save_file(state, path)
    backbone = load_backbone(f"local-dir:{tmp_path / 'model'}")
    _, ids = inputs(backbone)
    with torch.no_grad():
        assert relative(backbone.text(ids, Tuner()), model.encode_text(ids)) < 1e-5


def test_a_file_gets_the_mean_that_all_tags_of_its_architecture_have():
    for name, mean in (("ViT-B-16-SigLIP", 0.5), ("ViT-B-16", 0.48145466), ("MobileCLIP-B", 0.0)):
        architecture = find_architecture(name)
        assert own_preprocess(architecture, {}, (8, 8)).mean[0] == mean
    assert own_preprocess(find_architecture("PE-Core-B-16"), {}, (8, 8)).interpolation == "bilinear"


def test_a_native_size_that_patches_do_not_fill_is_allowed():
    architecture = find_architecture("ViT-SO400M-14-SigLIP-384")
    assert (architecture.image_size, architecture.patch) == ((384, 384), (14, 14))
    with pytest.raises(SettingsError, match="385x385"):
        load_backbone("ViT-SO400M-14-SigLIP-384", "none", image_size=(385, 385))


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"timm_model_name": "swin_base_patch4_window7_224"}, "within windows"),
        ({"timm_model_name": "small_relative"}, ""),  # of no module of timm: looked at when it is built
        ({"timm_model_name": "nothing_of_the_kind"}, "has no model nothing_of_the_kind"),
        ({"timm_model_name": "resnet50"}, "no vision transformer that is known here"),
        ({"timm_model_name": "small_siglip", "timm_pool": "abs_attn"}, 'pools by "abs_attn"'),
        ({**OPEN_CLIP, "attentional_pool": "parallel"}, "parallel attention"),
        ({**OPEN_CLIP, "scale_heads": True}, "its image tower has scale_heads = True"),
        (OPEN_CLIP, ""),
    ],
)
def test_why_an_image_tower_is_not_supported(vision, reason):
    found = image_reason(config(vision))
    assert reason in found
    assert bool(found) == bool(reason)


def test_why_a_text_tower_is_not_supported():
    assert (
        text_reason(config(OPEN_CLIP, {"scaled_cosine_attn": True})) == "its text tower has scaled_cosine_attn = True"
    )
    assert "custom_text" in text_reason(config(OPEN_CLIP, {"embed_cls": True}))


@pytest.mark.parametrize(
    ("name", "why"),
    [("small_relative", "VisionTransformerRelPos"), ("small_differential", r"blocks\.0\.attn\.lambda")],
)
def test_a_timm_model_with_parts_that_no_walk_knows_is_refused_and_they_are_named(tmp_path, name, why):
    chosen = copy.deepcopy(FAMILIES["timm clip"])
    chosen["vision_cfg"] |= {"timm_model_name": name}
    folder(tmp_path / "model", chosen)
    with pytest.raises(SettingsError, match=why):
        load_backbone(f"local-dir:{tmp_path / 'model'}")


def test_the_native_sizes_of_open_clip_are_those_of_timm():
    """open_clip builds timm's towers for timm's size, whatever its configuration says (256 for ViTamin-XL-384)."""
    for name, side in (("ViT-B-16-SigLIP-384", 384), ("EVA02-L-14-336", 336), ("ViTamin-XL-384", 384)):
        assert find_architecture(name).image_size == (side, side)


def test_the_tokenizer_of_the_hub_gets_what_the_configuration_says(tmp_path, monkeypatch):
    asked = []

    class Tokenizer:
        def __init__(self, name, **options):
            asked.append((name, options))

        def __call__(self, texts):
            return torch.ones(len(texts), 12, dtype=torch.long)

    chosen = copy.deepcopy(FAMILIES["siglip"])
    chosen["text_cfg"]["hf_tokenizer_name"] = "timm/ViT-B-16-SigLIP"
    folder(tmp_path / "model", chosen)
    backbone = load_backbone(f"local-dir:{tmp_path / 'model'}")
    monkeypatch.setattr(open_clip.tokenizer, "HFTokenizer", Tokenizer)
    assert Model(backbone).embed_texts(["a red coat", "a hat"]).shape == (2, 32)
    assert asked == [("timm/ViT-B-16-SigLIP", {"context_length": 12, "clean": "canonicalize"})]
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    assert find_tokenizer(backbone.architecture, 12) and asked[1][0] == str(tmp_path / "model")


def test_quick_gelu_is_refused_where_the_model_is_built_with_another():
    with pytest.raises(SettingsError, match="ViT-B-16-SigLIP2 is a GELU model"):
        load_backbone("ViT-B-16-SigLIP2", "none", activation="quick_gelu")
