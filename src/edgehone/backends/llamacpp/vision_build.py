"""Split a LLaVA for llama.cpp (worker side): its language model as a checkpoint, its vision encoder as mmproj.gguf.

llama.cpp's converter knows neither the tensor names that transformers 5 writes for these models nor their CLIP encoder,
but it can convert the language model on its own. The names and keys of mmproj.gguf are from tools/mtmd/clip-impl.h and
clip.cpp, the mapping is from tools/mtmd/legacy-models/convert_image_encoder_to_gguf.py.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.build import facts
from edgehone.backends.llamacpp.tools import ARTIFACT, PROJECTOR, toolchain_of
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import JobError

# The architecture of a LLaVA's language model on its own, by model type.
LANGUAGE_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
}

_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
_REST = {
    "embeddings.class_embedding": "v.class_embd",
    "embeddings.patch_embedding.weight": "v.patch_embd.weight",
    "embeddings.patch_embedding.bias": "v.patch_embd.bias",
    "embeddings.position_embedding.weight": "v.position_embd.weight",
    "pre_layrnorm.weight": "v.pre_ln.weight",
    "pre_layrnorm.bias": "v.pre_ln.bias",
}
# The activation of a CLIP encoder whose config.json omits it; SigLIP configurations contain theirs.
_ACTIVATION = "quick_gelu"
_PROJECTOR = {"linear_1": "mm.0", "linear_2": "mm.2"}


def language_model(job: WorkerJob) -> dict[str, Any]:
    """Write the language model alone as a checkpoint that the converter reads, with the tokenizer's files."""
    from safetensors.torch import save_file

    folder = job.inputs["model"]
    config = _config(folder)
    tensors = {name: tensor for old, tensor in _tensors(folder) if (name := language_name(old))}
    text = dict(config["text_config"])
    text["architectures"] = [LANGUAGE_ARCHITECTURES[text["model_type"]]]
    text.setdefault("tie_word_embeddings", config.get("tie_word_embeddings", False))
    if text.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    (job.out / "config.json").write_text(json.dumps(text, indent=1), "utf-8")
    save_file(tensors, job.out / "model.safetensors", metadata={"format": "pt"})
    for path in folder.iterdir():
        if path.name.startswith(("tokenizer", "special_tokens", "added_tokens", "vocab", "merges")):
            shutil.copyfile(path, job.out / path.name)
    return {"tensors": len(tensors)}


def language_name(name: str) -> str | None:
    """Return a tensor's name in the language model alone, or None if it belongs to another part.

    Supports the names of transformers 4 (language_model.model.…) and 5 (model.language_model.…).
    """
    if "vision_tower." in name or "multi_modal_projector." in name:
        return None
    rest = name.rpartition("language_model.")[2]
    if rest.startswith(("model.", "lm_head.")):
        return rest
    return f"model.{rest}"


def projector(job: WorkerJob) -> dict[str, Any]:
    """Write the vision encoder and its projector to out/mmproj.gguf: matrices in F16, the rest in F32.

    Facts: tensor_types, bytes. Raises JobError for a feature layer that llama.cpp does not support.
    """
    sys.path.insert(0, str(toolchain_of(job).convert().parent / "gguf-py"))
    import gguf
    import numpy as np

    folder = job.inputs["model"]
    config, processor = _config(folder), _processor(folder)
    vision = config["vision_config"]
    blocks = block_count(config)
    out = job.out / PROJECTOR
    writer = gguf.GGUFWriter(out, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", str(vision.get("hidden_act", _ACTIVATION)).startswith("gelu"))
    numbers = {
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "embedding_length": vision["hidden_size"],
        "feed_forward_length": vision["intermediate_size"],
        "projection_dim": vision.get("projection_dim", vision["hidden_size"]),
        "attention.head_count": vision["num_attention_heads"],
        "block_count": blocks,
    }
    for key, value in numbers.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", vision.get("layer_norm_eps", 1e-5))
    for key in ("image_mean", "image_std"):
        writer.add_array(f"clip.vision.{key}", [float(v) for v in processor[key]])
    for old, tensor in _tensors(folder):
        new = vision_name(old, blocks)
        if new is None:
            continue
        wide = new.endswith(".weight") and tensor.ndim > 1 and "position" not in new
        writer.add_tensor(new, tensor.float().numpy().astype(np.float16 if wide else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return facts(out)


def block_count(config: Mapping[str, Any]) -> int:
    """Return the number of blocks to write: libmtmd runs all but the last, to get the features the projector reads.

    Raises JobError if the features are not the output of a block that has a successor.
    """
    layers, chosen = config["vision_config"]["num_hidden_layers"], config.get("vision_feature_layer", -2)
    block = (
        chosen
        if isinstance(chosen, int) and chosen >= 0
        else layers + 1 + chosen
        if isinstance(chosen, int)
        else -1
    )
    if not 0 < block < layers:
        raise JobError(
            f"llama.cpp reads a LLaVA's features after any block except the last, not at vision_feature_layer {chosen}"
        )
    return block + 1


def vision_name(name: str, blocks: int) -> str | None:
    """Return a tensor's name in mmproj.gguf, or None if it is not part of it or in a block that is left out."""
    _, found, rest = name.partition("multi_modal_projector.")
    if found:
        layer, _, kind = rest.partition(".")
        return f"{_PROJECTOR[layer]}.{kind}" if layer in _PROJECTOR else None
    _, found, rest = name.partition("vision_tower.")
    if not found:
        return None
    rest = rest.removeprefix("vision_model.")
    if not rest.startswith("encoder.layers."):
        return _REST.get(rest)
    number, _, part = rest.removeprefix("encoder.layers.").partition(".")
    module, _, kind = part.rpartition(".")
    return f"v.blk.{number}.{_BLOCK[module]}.{kind}" if int(number) < blocks and module in _BLOCK else None


def join(job: WorkerJob) -> dict[str, Any]:
    """Copy model.gguf and mmproj.gguf to one folder. Facts: tensor_types of the language model, bytes of both."""
    for name, part in ((ARTIFACT, "language"), (PROJECTOR, "projector")):
        shutil.copyfile(job.inputs[part] / name, job.out / name)
    found = facts(job.out / ARTIFACT)
    return {**found, "bytes": sum(path.stat().st_size for path in job.out.iterdir())}


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return config


def _processor(folder: Path) -> dict[str, Any]:
    """Return the image processor's settings from whichever file has them."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text("utf-8"))
            settings: dict[str, Any] = content.get("image_processor", content)
            if "image_mean" in settings:
                return settings
    raise JobError(f"{folder} has no preprocessor_config.json with image_mean and image_std")


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                yield name, file.get_tensor(name)
