"""Encoder-decoders (Whisper, T5) in the openvino backend: exported by optimum-intel, compressed by NNCF.

The recipes are those of `graph_recipes.toml` that need no samples: activations of a decoder are ranges of every step,
which NNCF's calibration does not run. Steps: `export` writes the encoder and the stateful decoder in float32,
`compress` stores both in 16 bits or compresses their weights to 8.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe, Step
from edgehone.backends.openvino import ir
from edgehone.backends.openvino.export import export_ir
from edgehone.backends.openvino.placement import CPU, device_properties
from edgehone.backends.openvino.session import common
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.encoder_decoder import EncoderDecoderSession
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENCODER = "openvino_encoder_model.xml"
DECODER = "openvino_decoder_model.xml"

_HERE = "edgehone.backends.openvino.encoder_decoder"
_MODES = ("fp32", "fp16", "weights")


def recipes(model: ModelInfo, graph_recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return those of the recipes of graphs that suit, as recipes of an encoder-decoder."""
    return [
        replace(
            one,
            build={"graph": "encoder-decoder", "source": model.task, "frames": _frames(model), **_mode(one)},
        )
        for one in graph_recipes
        if one.build["mode"] in _MODES
    ]


def _frames(model: ModelInfo) -> int:
    size = model.inputs[0].shape[-1]
    return size if isinstance(size, int) else 0


def _mode(recipe: Recipe) -> dict[str, Any]:
    return {name: recipe.build[name] for name in ("mode", "weights") if name in recipe.build}


def steps(recipe: Recipe) -> Step:
    """Return the steps: export in float32, then compress if the recipe does."""
    origin = {"task": recipe.build["source"], "frames": recipe.build["frames"]}
    export = Step(f"{_HERE}:export", origin, reads=("model",))
    return export if recipe.exact else Step(f"{_HERE}:compress", _mode(recipe), {"fp32": export})


def export(job: WorkerJob) -> dict[str, Any]:
    """Write the encoder and the stateful decoder in float32 (worker side).

    args: task, frames (of a spectrogram, 0 for texts). inputs: model. Returns `facts`. Exceptions of the exporter pass
    through.
    """
    job.progress(0.1, "exporting to IR")
    # optimum traces 30 seconds of sound unless it is told the length.
    shapes = {"nb_max_frames": job.args["frames"]} if job.args["frames"] else {}
    task = f"{job.args['task']}-with-past"
    export_ir(job.inputs["model"], job.out, task, dtype="fp32", tokenizer=False, **shapes)
    for path in job.out.iterdir():  # the exporter also copies the tokenizer, which the bundle carries already
        if path.stem not in (Path(ENCODER).stem, Path(DECODER).stem):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    for name in (ENCODER, DECODER):
        ir.compact(job.out / name)
    return facts(job.out)


def compress(job: WorkerJob) -> dict[str, Any]:
    """Store weights in 16 bits, or compress them to 8 bits with nncf.compress_weights (worker side).

    args: mode ("fp16" or "weights"), and weights ("int8_asym", "int8_sym") for the mode "weights". inputs: fp32.
    """
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.WARNING)
    for name in (ENCODER, DECODER):
        job.progress(0.2, f"compressing {name}")
        model = ov.Core().read_model(job.inputs["fp32"] / name)
        if job.args["mode"] == "weights":
            import nncf

            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode(job.args["weights"]))
        ir.save(model, job.out, fp16=job.args["mode"] == "fp16", name=name)
    return facts(job.out)


def facts(folder: Path) -> dict[str, Any]:
    """Return the facts of the decoder, with the weights of both parts counted by their type (worker side)."""
    encoder, decoder = (ir.facts(folder, name) for name in (ENCODER, DECODER))
    types = {**encoder["weight_types"]}
    for kind, count in decoder["weight_types"].items():
        types[kind] = types.get(kind, 0) + count
    return {**decoder, "weight_types": types}


class OpenVinoParts:
    """The `Parts` of an encoder-decoder in IR."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int) -> None:
        import openvino as ov

        options = device_properties(settings, common(settings, threads))
        core, device = ov.Core(), str(settings.get("device", CPU))
        self._encoder, self._decoder = (
            core.compile_model(folder / name, device, options).create_infer_request()
            for name in (ENCODER, DECODER)
        )
        self._names = {port.get_any_name() for port in self._decoder.model_inputs}
        self._fed: dict[str, Any] = {}
        self._past = 0

    def begin(self, source: Mapping[str, NDArray[Any]]) -> None:
        """Run the encoder, and forget the tokens so far."""
        import numpy as np

        encoded = np.array(self._encoder.infer(dict(source))[0])
        self._decoder.reset_state()
        self._past = 0
        self._fed = {"encoder_hidden_states": encoded}
        if (mask := source.get("attention_mask")) is not None:
            self._fed["encoder_attention_mask"] = mask

    def step(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Return the logits after the next ids."""
        import numpy as np

        batch, count = ids.shape
        positions = np.arange(self._past, self._past + count, dtype=np.int64)
        fed = {
            **self._fed,
            "input_ids": ids,
            "decoder_attention_mask": np.ones((batch, self._past + count), np.int64),
            "cache_position": positions,
            "beam_idx": np.arange(batch, dtype=np.int32),
        }
        self._past += count
        self._decoder.infer({name: array for name, array in fed.items() if name in self._names})
        return np.array(self._decoder.get_tensor("logits").data, np.float32)

    def close(self) -> None:
        """Release the compiled models."""
        self._encoder = self._decoder = None
        self._fed.clear()


def open_session(folder: Path, settings: Mapping[str, Any], threads: int) -> EncoderDecoderSession:
    """Open an artifact (worker side). Settings are those of a graph."""
    return EncoderDecoderSession(OpenVinoParts(folder, settings, threads))
