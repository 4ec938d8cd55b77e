"""Build steps for MLX (worker side): convert to floats, and quantize in groups.

The result is a folder that mlx-lm loads. Tokenizer files are copied unchanged.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.mlx import gptq_model, mixed_precision
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import quantized_weights
from edgehone.backends.shared.plain_checkpoint import plain_checkpoint
from edgehone.core.errors import JobError
from edgehone.formats.safetensors import BITS, read_header
from edgehone.model.tokenizer import FILES, SENTENCEPIECE


def convert(job: WorkerJob) -> dict[str, Any]:
    """Convert the model to floats in MLX's layout (worker side).

    args: dtype ("stored"). inputs: model. Returns the facts of `facts`.
    """
    with plain_checkpoint(job.inputs["model"], job.out / ".checkpoint") as folder:
        model, config = load(folder)
        job.progress(0.5, "converting")
        return save(job.out, model, config, job.inputs["model"])


def quantize(job: WorkerJob) -> dict[str, Any]:
    """Write the model in another dtype, and with fewer bits if the args say so (worker side).

    args: dtype of scales and of everything that stays float; bits and group, or mixed (an mlx-lm predicate) and
    group; learned ("gptq": use the calibration text); own (part of a matrix name → [bits, group], for exceptions);
    mix (bits and group for each matrix, assigned from inputs["sensitivity"]). inputs: floats, and calibration for
    GPTQ. Computation is in float32; only the result is in dtype.

    Returns `weight_types` (matrices by type, read back from the files), `bits_per_weight`, `bytes`, and for a mix
    also `mix`: the assignment, and where the files differ from it.
    """
    import mlx.core as mx

    floats, args = job.inputs["floats"], job.args
    model, config = as_float32(floats)
    assignment = mixed_precision.assigned_types(job, floats) if "mix" in args else None
    if "learned" in args:
        exceptions = mixed_precision.widths(assignment) if assignment else args.get("own", {})
        model, config = gptq_model.quantize(model, as_float32(floats)[0], config, job, exceptions)
    elif "group" in args:
        job.progress(0.3, "quantizing")
        model, config = round_to_nearest(model, config, args)
    cast(model, getattr(mx, args["dtype"]))
    job.progress(0.8, "saving")
    saved = save(job.out, model, config, floats)
    return {**saved, **(mixed_precision.facts(assignment, config) if assignment else {})}


def round_to_nearest(
    model: Any, config: dict[str, Any], args: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Round to the nearest level, with the same bits for all matrices or as one of mlx-lm's mixed predicates says."""
    from mlx_lm.convert import mixed_quant_predicate_builder
    from mlx_lm.utils import quantize_model

    group = int(args["group"])
    if "mixed" not in args:
        return tuple(quantize_model(model, config, group, int(args["bits"])))
    predicate = mixed_quant_predicate_builder(args["mixed"], model, group)
    low = int(str(args["mixed"]).split("_")[1])
    return tuple(quantize_model(model, config, group, low, quant_predicate=predicate))


def as_float32(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load the model of a folder with all floats in float32."""
    import mlx.core as mx

    model, config = load(folder)
    cast(model, mx.float32)
    return model, config


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load mlx-lm's model and its configuration. Code in the folder is not run."""
    from mlx_lm.utils import load_model

    config = json.loads((folder / "config.json").read_text("utf-8"))
    # mlx-lm would import the Python file that `model_file` in config.json names.
    model, config = load_model(folder, lazy=True, model_config={"model_file": None, **rope(config)})
    config.pop("model_file")
    return model, config


def rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return rotary settings under the names that most of mlx-lm's models read.

    transformers 5 stores them in `rope_parameters`. Without the older names mlx-lm silently uses defaults.
    """
    parameters = config.get("rope_parameters")
    if not isinstance(parameters, Mapping):
        return {}
    settings: dict[str, Any] = {}
    main = parameters
    if isinstance(parameters.get("full_attention"), Mapping):  # one entry per kind of layer
        main = parameters["full_attention"]
        local = parameters.get("sliding_attention")
        if isinstance(local, Mapping) and "rope_theta" in local:
            settings["rope_local_base_freq"] = local["rope_theta"]
    settings |= {name: main[name] for name in ("rope_theta", "partial_rotary_factor") if name in main}
    if main.get("rope_type", "default") != "default":
        settings["rope_scaling"] = dict(main)
    return {name: value for name, value in settings.items() if config.get(name) is None}


def cast(model: Any, dtype: Any) -> None:
    """Convert all floats to a dtype, except those that the architecture keeps."""
    import mlx.core as mx
    from mlx.utils import tree_map_with_path

    is_cast = getattr(model, "cast_predicate", lambda name: True)

    def converted(name: str, value: Any) -> Any:
        return value.astype(dtype) if is_cast(name) and mx.issubdtype(value.dtype, mx.floating) else value

    model.update(tree_map_with_path(converted, model.parameters()))


def save(out: Path, model: Any, config: dict[str, Any], source: Path) -> dict[str, Any]:
    """Write weights and configuration and copy the tokenizer. Returns the facts that are read back."""
    from mlx_lm.utils import save_config, save_model

    save_model(out, model, donate_model=True)
    save_config(config, config_path=out / "config.json")
    # With a tokenizer.json the SentencePiece model is not needed.
    redundant = SENTENCEPIECE if (source / "tokenizer.json").is_file() else ()
    for name in (*FILES, "generation_config.json"):
        if (source / name).is_file() and name not in redundant:
            shutil.copyfile(source / name, out / name)
    return facts(out)


def facts(folder: Path) -> dict[str, Any]:
    """Read the facts of the files: matrices by type, bits per weight including scales, and bytes of all files.

    Bits follow from the shapes: a packed row of w words and s scales in groups of g has 32 * w / (s * g) bits.
    Raises JobError if config.json says otherwise, since mlx-lm would then misread the weights.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    quantization = config.get("quantization", {})
    tensors = {
        name: tensor for path in folder.glob("*.safetensors") for name, tensor in read_header(path).items()
    }
    types: Counter[str] = Counter()
    weights = bits = 0
    matrices: list[tuple[str, int, bool]] = []
    for name, tensor in tensors.items():
        bits += tensor.elements * BITS[tensor.dtype]
        layer, _, kind = name.rpartition(".")
        scales = tensors.get(f"{layer}.scales")
        if kind == "weight" and scales is not None:
            settings = (
                quantization.get(layer) if isinstance(quantization.get(layer), Mapping) else quantization
            )
            columns = scales.shape[-1] * int(settings["group_size"])
            width = 32 * tensor.shape[-1] / columns
            if width != settings["bits"]:
                raise JobError(f"{name} has {width:g} bits a weight, config.json says {settings['bits']}")
            types[f"{settings['bits']}-bit g{settings['group_size']}"] += 1
            weights += tensor.elements // tensor.shape[-1] * columns
            matrices.append((name, tensor.elements // tensor.shape[-1] * columns, True))
        elif kind not in ("scales", "biases"):
            weights += tensor.elements
            if len(tensor.shape) > 1:
                types[tensor.dtype] += 1
            if quantized_weights.is_matrix(tensor.shape):
                matrices.append((name, tensor.elements, False))
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {
        "weight_types": dict(types),
        **quantized_weights.facts(matrices),
        "bits_per_weight": bits / weights,
        "bytes": size,
    }
