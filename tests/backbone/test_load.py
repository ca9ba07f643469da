import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from reidtune.backbone import weights
from reidtune.backbone.architecture import find_architecture, resolve_activation
from reidtune.backbone.load import load_backbone
from reidtune.backbone.support import image_reason, text_reason
from reidtune.errors import DeltaError, ReidtuneError, SettingsError

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def model_folder(tmp_path, config=SMALL, **preprocess):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.manual_seed(5)
    model = open_clip.CLIP(**{key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")})
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder, model


def small(folder, **options):
    return load_backbone(f"local-dir:{folder}", **options)


def test_openai_weights_of_vit_b_32_run_quick_gelu(monkeypatch):
    asked = []

    def no_download(entry):
        asked.append(entry)
        raise OSError("offline")

    monkeypatch.setattr(open_clip, "download_pretrained", no_download)
    architecture = find_architecture("ViT-B-32")
    assert architecture.config.get("quick_gelu", False) is False  # the configuration alone would say GELU
    entry = weights.tag_config(architecture, "openai")
    assert resolve_activation(architecture, entry, True, None) == "quick_gelu"
    model = weights.build(architecture, "quick_gelu", (224, 224))
    assert type(model.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
    laion = weights.tag_config(architecture, "laion2b_s34b_b79k")
    assert resolve_activation(architecture, laion, True, None) == "gelu"
    with pytest.raises(ReidtuneError) as error:
        load_backbone("ViT-B-32", "openai")
    assert "could not be downloaded" in error.value.message
    assert "--backbone tiny" in error.value.hint
    assert "--pretrained FILE" in error.value.hint
    assert asked[0]["quick_gelu"] is True


def test_a_file_for_an_ambiguous_name_asks_for_the_activation(tmp_path):
    path = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    state = weights.random_state(find_architecture("ViT-S-32"), "gelu")
    save_file(state, path)
    for name in ("ViT-B-32", "ViT-B/32"):
        with pytest.raises(SettingsError, match="Cannot tell the activation"):
            load_backbone(name, str(path))
    assert load_backbone("ViT-S-32", str(path)).activation == "gelu"  # this name exists with GELU only
    assert load_backbone("ViT-S-32", str(path), activation="quick_gelu").activation == "quick_gelu"
    with pytest.raises(SettingsError, match='Unknown activation "relu"'):
        load_backbone("ViT-S-32", str(path), activation="relu")


def test_a_model_folder_brings_its_configuration(tmp_path):
    folder, model = model_folder(tmp_path, mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    backbone = small(folder)
    assert (backbone.activation, backbone.preprocess.mean) == ("gelu", (0.5, 0.5, 0.5))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(backbone.model.encode_image(images), model.eval().encode_image(images))


def test_pt_and_safetensors_of_one_model_have_one_fingerprint(tmp_path):
    state = weights.random_state(find_architecture("ViT-S-32"), "gelu")
    half = {name: value.half() for name, value in state.items()}
    save_file({name: value.float() for name, value in half.items()}, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{name}": value for name, value in half.items()}}, tmp_path / "b.pt")
    one, two = (load_backbone("ViT-S-32", str(tmp_path / name)) for name in ("a.safetensors", "b.pt"))
    assert one.fingerprint == two.fingerprint


def test_positions_are_resized_from_the_folders_own_non_square_grid(tmp_path):
    config = json.loads(json.dumps(SMALL))
    config["vision_cfg"]["image_size"] = [64, 16]  # 8×2 patches, as many as 4×4
    folder, model = model_folder(tmp_path, config)
    same, other = small(folder), small(folder, image_size=(32, 32))
    source = model.visual.positional_embedding
    assert torch.equal(same.model.visual.positional_embedding, source)
    assert other.model.visual.positional_embedding.shape == source.shape
    assert not torch.allclose(other.model.visual.positional_embedding, source)


def test_random_weights_are_the_same_every_time_and_leave_the_random_state_alone():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    one = load_backbone("ViT-S-32", "none")
    assert torch.equal(torch.get_rng_state(), before)
    assert one.fingerprint == load_backbone("ViT-S-32", "none").fingerprint
    assert not any(parameter.requires_grad for parameter in one.model.parameters())


@pytest.mark.parametrize(
    ("name", "pretrained", "sentence"),
    [
        ("ViT-B-61", None, 'Unknown backbone "ViT-B-61". Did you mean "ViT-B-16"?'),
        ("tinny", None, 'Unknown backbone "tinny". Did you mean "tiny"?'),
        ("RN50", None, 'Backbone "RN50" is not supported: a ResNet has no sequence of tokens to act on.'),
        ("convnext_base", None, 'Backbone "convnext_base" is not supported: a ConvNeXt has no sequence of tokens'),
        ("ViT-B-16-SigLIP", None, "ViT-B-16-SigLIP has no openai weights"),
        ("ViT-B-16-SigLIP", "weblli", 'no pretrained tag "weblli". Did you mean "webli"?'),
        ("ViT-B-16", "opneai", 'ViT-B-16 has no pretrained tag "opneai". Did you mean "openai"?'),
        ("ViT-B-16", "missing/file.pt", "The weights file missing/file.pt does not exist."),
        ("local-dir:nowhere", None, "nowhere has no open_clip_config.json"),
        ("ViT-S-16", None, "ViT-S-16 has no openai weights"),
        ("tiny", "openai", "tiny brings its own weights, so --pretrained openai has no place"),
    ],
)
def test_names_that_do_not_work_say_why(name, pretrained, sentence):
    with pytest.raises(SettingsError) as error:
        load_backbone(name, pretrained)
    assert sentence in error.value.message
    assert error.value.exit_code == 2
    assert error.value.hint


def test_every_open_clip_architecture_is_supported_or_has_a_reason():
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    images = {name for name, config in configs.items() if not image_reason(config)}
    both = {name for name in images if not text_reason(configs[name])}
    assert {"ViT-B-16", "ViT-bigG-14", "ViT-B-16-SigLIP", "EVA02-B-16", "PE-Core-B-16", "coca_ViT-B-32"} <= both
    assert "roberta-ViT-B-32" in images - both
    assert "roberta-base of Hugging Face" in text_reason(configs["roberta-ViT-B-32"])
    for name in set(configs) - images:
        assert configs[name]["vision_cfg"].get("timm_model_name") or name.startswith("RN"), name


def test_an_image_size_that_does_not_divide_into_patches(tmp_path):
    folder, _ = model_folder(tmp_path)
    with pytest.raises(SettingsError, match=r"Image size 30x32 \(height x width\) does not divide into patches of 8x8"):
        small(folder, image_size=(30, 32))


def test_weights_of_another_architecture_name_the_first_difference(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(weights.random_state(find_architecture("ViT-S-32"), "gelu"), path)
    with pytest.raises(DeltaError, match=r"do not fit ViT-S-16: visual\.conv1\.weight has shape"):
        load_backbone("ViT-S-16", str(path))
    state = weights.random_state(find_architecture("ViT-S-32"), "gelu")
    state.pop("ln_final.bias")
    save_file(state, path)
    with pytest.raises(DeltaError, match=r"ln_final\.bias is missing"):
        load_backbone("ViT-S-32", str(path))


@pytest.mark.parametrize("content", [b"", b"not weights at all" * 50])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_are_no_weights(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be read as model weights"):
        load_backbone("ViT-S-32", str(path))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Trap()}, tmp_path / "weights.pt")
    with pytest.raises(SettingsError):
        load_backbone("ViT-S-32", str(tmp_path / "weights.pt"))
    assert not (tmp_path / "ran").exists()


def test_torchscript_archives_are_read(tmp_path):
    class Archive(torch.nn.Module):
        def __init__(self, state):
            super().__init__()
            self.inner = torch.nn.ParameterDict()
            self.register_buffer("input_resolution", torch.tensor(224))
            for name, value in state.items():
                module = self
                *path, leaf = name.split(".")
                for part in path:
                    if not hasattr(module, part):
                        module.add_module(part, torch.nn.Module())
                    module = getattr(module, part)
                module.register_parameter(leaf, torch.nn.Parameter(value, requires_grad=False))

        def forward(self, x):
            return x

    state = weights.random_state(find_architecture("ViT-S-32"), "gelu")
    torch.jit.save(torch.jit.script(Archive(state)), str(tmp_path / "jit.pt"))
    assert weights.read_state(tmp_path / "jit.pt").keys() == state.keys()


def test_a_file_that_is_no_model_is_said_before_its_activation_is_asked(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"no model")
    with pytest.raises(SettingsError, match="cannot be read as model weights"):
        load_backbone("ViT-B-16", str(path))
