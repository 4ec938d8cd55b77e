"""Encoder-decoders (Whisper, T5) in the olive backend: exported to ONNX by PyTorch, quantized by Olive, run by ORT.

Steps: `export` writes two graphs, `apply` runs one of Olive's passes on both. encoder.onnx gives the keys and values of
the decoder's cross attention, so that a token does not cost another pass over the source; decoder.onnx takes them with
the keys and values of the tokens so far. ONNX Runtime GenAI's own builder is not used: it takes Whisper's 30 seconds of
sound only, no other length and no T5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe, Step
from edgehone.backends.olive.encoder_decoder_export import export_parts
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import onnx_files
from edgehone.backends.shared.encoder_decoder import EncoderDecoderSession
from edgehone.model.encoder_decoder import SPEECH
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
# Passes that need no samples: a decoder's ranges are those of every step, which the calibration does not run.
_PASSES = ("OnnxDynamicQuantization",)

_HERE = "edgehone.backends.olive.encoder_decoder"


def recipes(model: ModelInfo, entries: Sequence[Mapping[str, Any]], backend: str) -> list[Recipe]:
    """Return the recipes of graphs that suit, by their entries in `graph_recipes.toml`."""
    return [
        Recipe(
            backend,
            entry["name"],
            {"graph": "encoder-decoder", "task": model.task, "passes": entry["passes"]},
            effort=entry["effort"],
            exact=not entry["passes"],
            why=entry["why"],
        )
        for entry in entries
        if not entry.get("tuned") and all(one["type"] in _PASSES for one in entry["passes"])
    ]


def steps(recipe: Recipe) -> Step:
    """Return the steps: export, and one for each pass."""
    step = Step(f"{_HERE}:export", {"task": recipe.build["task"]}, reads=("model",))
    for one in recipe.build["passes"]:
        step = Step(f"{_HERE}:apply", dict(one), {"graph": step})
    return step


def export(job: WorkerJob) -> dict[str, Any]:
    """Write both graphs in float32 (worker side).

    args: task. inputs: model. Exceptions of PyTorch's exporter pass through.
    """
    import transformers

    from edgehone.backends.pytorch.weights import load_weights

    auto = transformers.AutoModelForSpeechSeq2Seq
    if job.args["task"] != SPEECH:
        auto = transformers.AutoModelForSeq2SeqLM
    job.progress(0.1, "exporting to ONNX")
    model = load_weights(auto, job.inputs["model"], "float32")
    model.set_attn_implementation("eager")
    export_parts(model, job.out / ENCODER, job.out / DECODER)
    return facts(job.out)


def apply(job: WorkerJob) -> dict[str, Any]:
    """Run one of Olive's passes on both graphs (worker side).

    args: the pass's `type` and settings. inputs: graph.
    """
    from edgehone.backends.olive.run_pass import run_pass

    config = dict(job.args)
    name = config.pop("type")
    for part in (ENCODER, DECODER):
        job.progress(0.2, f"{name}: {part}")
        run_pass(name, dict(config), job.inputs["graph"] / part, job.out / part)
    return facts(job.out)


def facts(folder: Path) -> dict[str, Any]:
    """Return `onnx_files.facts` of the decoder, and the bytes of both parts (worker side)."""
    found = onnx_files.facts(folder / DECODER)
    return {**found, "bytes": sum(path.stat().st_size for path in folder.iterdir())}


class OrtParts:
    """The `Parts` of an encoder-decoder in ONNX Runtime."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int) -> None:
        from edgehone.backends.onnxruntime.session import OrtSession

        self._encoder, self._decoder = (
            OrtSession(folder / name, settings, threads) for name in (ENCODER, DECODER)
        )
        self._cross: dict[str, Any] = {}
        self._past: dict[str, Any] = {}

    def begin(self, source: Arrays) -> None:
        """Run the encoder, and forget the tokens so far."""
        import numpy as np

        outputs = self._encoder.run(source)
        self._cross = dict(outputs)
        if "attention_mask" in source:
            self._cross["attention_mask"] = source["attention_mask"]
        self._past = {
            name.replace("cross", "past", 1): np.zeros(
                (len(array), array.shape[1], 0, array.shape[3]), np.float32
            )
            for name, array in outputs.items()
        }

    def step(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Return the logits after the next ids."""
        outputs = self._decoder.run({"input_ids": ids, **self._cross, **self._past})
        logits = outputs.pop("logits")
        self._past = {name.replace("present", "past", 1): array for name, array in outputs.items()}
        return logits

    def close(self) -> None:
        """Release both sessions."""
        for one in (self._encoder, self._decoder):
            one.close()


def open_session(folder: Path, settings: Mapping[str, Any], threads: int) -> EncoderDecoderSession:
    """Open an artifact (worker side). Settings are those of `OrtSession`."""
    return EncoderDecoderSession(OrtParts(folder, settings, threads))
