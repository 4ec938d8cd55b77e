"""Builds MLX folders from a model's folder (worker side): floats, and weights quantized in groups.

What is written is a folder that mlx-lm itself loads. The tokenizer's files are copied, never written anew.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.mlx import learned
from edgehone.backends.mlx import mix as mlx_mix
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import JobError
from edgehone.formats.safetensors import BITS, read_header
from edgehone.model.tokenizer import FILES, SENTENCEPIECE


def convert(job: WorkerJob) -> dict[str, Any]:
    """The model's floats in MLX's layout. args: dtype ("stored")."""
    model, config = load(job.inputs["model"])
    job.progress(0.5, "converting")
    return save(job.out, model, config, job.inputs["model"])


def quantize(job: WorkerJob) -> dict[str, Any]:
    """The floats in another dtype, and with fewer bits where args say so.

    args: dtype of scales and of what stays float; bits and group, or mixed (an mlx-lm predicate) and group;
    learned ("gptq": fitted to the calibration text); mix (bits and group for each matrix by inputs["sensitivity"]).
    inputs: floats, and calibration for learned. All is computed in float32, only the result is in dtype.
    Returns `weight_types` (matrices by type, read back from the files), `bits_per_weight`, `bytes`, and of a mix `mix`:
    what was assigned, and where the files differ.
    """
    import mlx.core as mx

    floats, args = job.inputs["floats"], job.args
    model, config = as_float32(floats)
    mix = mlx_mix.assigned(job, floats) if "mix" in args else None
    if "learned" in args:
        own = mlx_mix.own(mix) if mix else args.get("own", {})
        model, config = learned.learn(model, as_float32(floats)[0], config, job, own)
    elif "group" in args:
        job.progress(0.3, "quantizing")
        model, config = plain(model, config, args)
    cast(model, getattr(mx, args["dtype"]))
    job.progress(0.8, "saving")
    found = save(job.out, model, config, floats)
    return {**found, **(mlx_mix.facts(mix, config) if mix else {})}


def plain(model: Any, config: dict[str, Any], args: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Rounded to the nearest, all alike or mixed as one of mlx-lm's predicates says."""
    from mlx_lm.convert import mixed_quant_predicate_builder
    from mlx_lm.utils import quantize_model

    group = int(args["group"])
    if "mixed" not in args:
        return tuple(quantize_model(model, config, group, int(args["bits"])))
    predicate = mixed_quant_predicate_builder(args["mixed"], model, group)
    low = int(str(args["mixed"]).split("_")[1])
    return tuple(quantize_model(model, config, group, low, quant_predicate=predicate))


def as_float32(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model of a folder, all its floats in float32."""
    import mlx.core as mx

    model, config = load(folder)
    cast(model, mx.float32)
    return model, config


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """mlx-lm's model and its configuration; no code that lies in the folder is run."""
    from mlx_lm.utils import load_model

    config = json.loads((folder / "config.json").read_text("utf-8"))
    # mlx-lm would import the Python file that `model_file` names.
    model, config = load_model(folder, lazy=True, model_config={"model_file": None, **rope(config)})
    config.pop("model_file")
    return model, config


def rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """transformers 5 keeps the rotary settings in `rope_parameters`; most of mlx-lm asks for the older names.

    Without them mlx-lm takes defaults in silence.
    """
    told = config.get("rope_parameters")
    if not isinstance(told, Mapping):
        return {}
    made: dict[str, Any] = {}
    whole = told
    if isinstance(told.get("full_attention"), Mapping):  # one a kind of layer
        whole = told["full_attention"]
        local = told.get("sliding_attention")
        if isinstance(local, Mapping) and "rope_theta" in local:
            made["rope_local_base_freq"] = local["rope_theta"]
    made |= {name: whole[name] for name in ("rope_theta", "partial_rotary_factor") if name in whole}
    if whole.get("rope_type", "default") != "default":
        made["rope_scaling"] = dict(whole)
    return {name: value for name, value in made.items() if config.get(name) is None}


def cast(model: Any, dtype: Any) -> None:
    """All floats to a dtype, but for those that the architecture keeps."""
    import mlx.core as mx
    from mlx.utils import tree_map_with_path

    wanted = getattr(model, "cast_predicate", lambda name: True)

    def one(name: str, value: Any) -> Any:
        return value.astype(dtype) if wanted(name) and mx.issubdtype(value.dtype, mx.floating) else value

    model.update(tree_map_with_path(one, model.parameters()))


def save(out: Path, model: Any, config: dict[str, Any], source: Path) -> dict[str, Any]:
    """Write weights and configuration, copy the tokenizer; returns the facts read back."""
    from mlx_lm.utils import save_config, save_model

    save_model(out, model, donate_model=True)
    save_config(config, config_path=out / "config.json")
    # What tokenizer.json says is not read from the SentencePiece model again.
    spoken = SENTENCEPIECE if (source / "tokenizer.json").is_file() else ()
    for name in (*FILES, "generation_config.json"):
        if (source / name).is_file() and name not in spoken:
            shutil.copyfile(source / name, out / name)
    return facts(out)


def facts(folder: Path) -> dict[str, Any]:
    """What the files really hold: matrices by type, bits a weight with their scales, bytes of all files.

    The bits follow from the shapes: a packed row of w words and s scales in groups of g has 32 * w / (s * g) bits.
    Raises JobError where that is not what config.json says, since mlx-lm would then read other weights.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    told = config.get("quantization", {})
    tensors = {
        name: tensor for path in folder.glob("*.safetensors") for name, tensor in read_header(path).items()
    }
    types: Counter[str] = Counter()
    weights = bits = 0
    for name, tensor in tensors.items():
        bits += tensor.elements * BITS[tensor.dtype]
        layer, _, kind = name.rpartition(".")
        scales = tensors.get(f"{layer}.scales")
        if kind == "weight" and scales is not None:
            own = told.get(layer) if isinstance(told.get(layer), Mapping) else told
            columns = scales.shape[-1] * int(own["group_size"])
            width = 32 * tensor.shape[-1] / columns
            if width != own["bits"]:
                raise JobError(f"{name} has {width:g} bits a weight, config.json says {own['bits']}")
            types[f"{own['bits']}-bit g{own['group_size']}"] += 1
            weights += tensor.elements // tensor.shape[-1] * columns
        elif kind not in ("scales", "biases"):
            weights += tensor.elements
            if len(tensor.shape) > 1:
                types[tensor.dtype] += 1
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {"weight_types": dict(types), "bits_per_weight": bits / weights, "bytes": size}
