"""Tiny image and audio models as real folders, with random weights, and pictures and sounds of two classes for them."""

import io
import json
from pathlib import Path
from typing import Any, Literal, cast, get_args

import soundfile
import timm
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from graftline.frozen.rows import InputRows
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Reading
from graftline.models.timm_backbones import save_timm
from tests.support.tiny_media_files import IMAGE_LABELS, SOUND_LABELS, SOUND_RATE, tiny_image, tiny_sound

ImageArchitecture = Literal[
    "timm resnet", "timm vgg", "timm inception_v3", "timm efficientnet", "timm vit", "timm convnext",
    "resnet", "vit", "convnext", "efficientnet",
]  # fmt: skip
IMAGE_ARCHITECTURES: tuple[ImageArchitecture, ...] = get_args(ImageArchitecture)
AudioArchitecture = Literal["wav2vec2", "wav2vec2 group norm", "hubert", "wavlm", "whisper"]
AUDIO_ARCHITECTURES: tuple[AudioArchitecture, ...] = get_args(AudioArchitecture)
MediaArchitecture = ImageArchitecture | AudioArchitecture
MEDIA_ARCHITECTURES: tuple[MediaArchitecture, ...] = (*IMAGE_ARCHITECTURES, *AUDIO_ARCHITECTURES)
SIDE = 32

# timm's own tiny networks where it has some. Nearly all weights of a VGG are those of its first dense layer.
_TIMM: dict[str, tuple[str, dict[str, Any], int]] = {
    "timm resnet": ("test_resnet", {}, SIDE),
    "timm vgg": ("vgg11", {"mlp_ratio": 0.002}, SIDE),
    "timm inception_v3": ("inception_v3", {}, 75),
    "timm efficientnet": ("test_efficientnet", {}, SIDE),
    "timm vit": ("test_vit", {"img_size": SIDE}, SIDE),
    "timm convnext": ("test_convnext", {}, SIDE),
}
_TRANSFORMERS: dict[str, dict[str, Any]] = {
    "resnet": {
        "embedding_size": 8, "hidden_sizes": [8, 12], "depths": [2, 2], "layer_type": "basic",
    },
    "vit": {
        "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
        "image_size": SIDE, "patch_size": 8,
    },
    "convnext": {"hidden_sizes": [8, 12], "depths": [2, 2], "num_stages": 2},
    "efficientnet": {
        "width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320, "image_size": SIDE,
        "in_channels": [32, 16, 24], "out_channels": [16, 24, 40], "kernel_sizes": [3, 3, 5], "strides": [1, 2, 2],
        "num_block_repeats": [1, 2, 2], "expand_ratios": [1, 6, 6], "depthwise_padding": [],
    },
}  # fmt: skip
# Widths of 32, as every real model's are multiples of it: the processor computes a remainder of that with other
# instructions, whose last bits differ.
_SPEECH: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [32, 32, 32],
    "conv_kernel": [10, 8, 8],
    "conv_stride": [5, 8, 8],
    "feat_extract_norm": "layer",
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "conv_bias": True,
    "do_stable_layer_norm": False,
    "num_feat_extract_layers": 3,
    "vocab_size": 8,
}
_WHISPER: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 8,
    "max_source_positions": 50,
    "vocab_size": 32,
    "max_target_positions": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
_SPEECH_EXTRACTOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "do_normalize": True,
    "padding_value": 0.0,
}
_WHISPER_EXTRACTOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 8,
    "hop_length": 160,
    "chunk_length": 1,
    "n_fft": 400,
}
_PROCESSORS = {
    "resnet": "ConvNextImageProcessor",
    "vit": "ViTImageProcessor",
    "convnext": "ConvNextImageProcessor",
    "efficientnet": "EfficientNetImageProcessor",
}


def write_tiny_image_model(folder: Path, architecture: ImageArchitecture) -> Path:
    """A base model whose weights are the same at every call."""
    torch.manual_seed(7)
    if architecture in _TIMM:
        name, arguments, side = _TIMM[architecture]
        described = {"architecture": name, "input_size": [3, side, side], "mean": [0.5] * 3, "std": [0.25] * 3,
                     "interpolation": "bicubic", "crop_pct": 0.9, "classifier": "head"}  # fmt: skip
        model = timm.create_model(name, num_classes=0, pretrained_cfg=described, **arguments)
        _spread(model)
        save_timm(model, folder)
        return folder
    backbone = AutoModel.from_config(AutoConfig.for_model(architecture, **_TRANSFORMERS[architecture]))
    _spread(backbone)
    backbone.save_pretrained(folder)
    described = {
        "image_processor_type": _PROCESSORS[architecture], "size": {"height": SIDE, "width": SIDE},
        "do_resize": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3,
    }  # fmt: skip
    if _PROCESSORS[architecture].startswith("ConvNext"):
        described |= {"size": {"shortest_edge": SIDE}, "crop_pct": 0.875}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
    return folder


def write_tiny_audio_model(folder: Path, architecture: AudioArchitecture) -> Path:
    """A base model whose weights are the same at every call; Whisper's hears one second."""
    torch.manual_seed(7)
    model_type = architecture.partition(" ")[0]
    sizes = _WHISPER if model_type == "whisper" else _SPEECH
    chosen = sizes | ({"feat_extract_norm": "group"} if architecture.endswith("group norm") else {})
    backbone = AutoModel.from_config(AutoConfig.for_model(model_type, **chosen))
    _spread(backbone)
    backbone.save_pretrained(folder)
    described = _WHISPER_EXTRACTOR if model_type == "whisper" else _SPEECH_EXTRACTOR
    (folder / "preprocessor_config.json").write_text(json.dumps(described | {"sampling_rate": SOUND_RATE}))
    return folder


def _spread(model: nn.Module) -> None:
    """Statistics and norms that differ from layer to layer, as in trained models, and weights that keep rows apart."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if "layer_scale" in name or name.endswith("gamma"):
            nn.init.uniform_(parameter, 0.5, 1.0)
        elif parameter.ndim == 1 and name.endswith("weight"):
            nn.init.uniform_(parameter, 0.8, 1.2)
        elif parameter.ndim > 1:
            nn.init.normal_(parameter, std=(2 / max(1, parameter[0].numel())) ** 0.5)


def tiny_images(rows: int, *, seed: int = 0) -> tuple[list[bytes], list[int]]:
    """PNG files of different sizes and their labels, in turn."""
    files = []
    for row in range(rows):
        content = io.BytesIO()
        tiny_image(IMAGE_LABELS[row % 2], 1000 * seed + row).save(content, "PNG")
        files.append(content.getvalue())
    return files, [row % 2 for row in range(rows)]


def tiny_sounds(rows: int, *, seed: int = 0) -> tuple[list[bytes], list[int]]:
    """WAV files, of three lengths so that some are equally long, and their labels, in turn."""
    files = []
    for row in range(rows):
        content = io.BytesIO()
        sound = tiny_sound(SOUND_LABELS[row % 2], 1000 * seed + row)
        soundfile.write(content, sound[: 3_200 + 500 * (row % 3)], SOUND_RATE, format="WAV")
        files.append(content.getvalue())
    return files, [row % 2 for row in range(rows)]


def write_tiny_media_model(folder: Path, architecture: MediaArchitecture) -> Path:
    """A base model of either kind."""
    if kind_of(architecture) == "image":
        return write_tiny_image_model(folder, cast("ImageArchitecture", architecture))
    return write_tiny_audio_model(folder, cast("AudioArchitecture", architecture))


def kind_of(architecture: MediaArchitecture) -> Literal["image", "audio"]:
    return "image" if architecture in IMAGE_ARCHITECTURES else "audio"


def tiny_media_classifier(folder: Path, architecture: MediaArchitecture, *, seed: int = 0) -> Classifier:
    return load_base(folder, Outputs("single_label", ("0", "1")), reading=Reading(kind_of(architecture)), seed=seed)


def tiny_media_rows(folder: Path, architecture: MediaArchitecture, rows: int, *, seed: int = 0) -> InputRows:
    kind = kind_of(architecture)
    preprocessor = load_preprocessor(folder, Reading(kind))
    files, labels = (tiny_images if kind == "image" else tiny_sounds)(rows, seed=seed)
    return InputRows(preprocessor, preprocessor.encode(files), torch.tensor(labels))
