"""llamacpp: GGUF files by llama.cpp's own converter and quantizer, run by libllama.

The steps are llama.cpp's tools run as they are: convert_hf_to_gguf.py writes the exact GGUF, llama-imatrix reads
the calibration text, llama-quantize writes the rest. What can be built and what can be converted is data:
llamacpp_recipes.toml and llamacpp_architectures.txt. `llamacpp_toolchain` compiles the tools, `llamacpp_tools`
finds them, `llamacpp_build` runs them, `llamacpp_session` and `llamacpp_encoder` run what was built.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import (
    Needs,
    Recipe,
    Step,
    Support,
    TunableSetting,
)
from edgehone.backends.llamacpp import build, operators, placement
from edgehone.backends.llamacpp import devices as llamacpp_devices
from edgehone.backends.llamacpp import recipes as llamacpp_recipes
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    from edgehone.backends.llamacpp.encoder import EncoderSession
    from edgehone.backends.llamacpp.routing import RoutingSession
    from edgehone.backends.llamacpp.session import LlamaSession
    from edgehone.backends.llamacpp.vision import LlamaVision

devices = llamacpp_devices.devices
device_recipes = placement.device_recipes
operator_times = operators.operator_times

NAME = "llamacpp"
ARTIFACT_FILE = build.ARTIFACT
REFERENCE = False
NEEDS = Needs(
    lock=Path(__file__).with_name("lock.txt"),
    toolchain="edgehone.backends.llamacpp.toolchain:setup",
    versions=("torch", "transformers"),
)

# Encoders of which libllama gives the hidden states of every token. Bert, roberta, distilbert and modernbert were
# seen to agree with transformers; the others are roberta's architecture and left to the null test.
ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "modernbert")

# Of models that see: taken apart by `llamacpp_vision_build`, and seen to agree with transformers.
SEEN = ("llava",)

# tools/mtmd/models/llava.cpp appends the class token behind the patches; clip.cpp then numbers the positions and picks
# the rows as if it stood before them.
_CLIP = (
    "pictures through a CLIP encoder come out wrong in llama.cpp 0.5.0 (its own token lies behind the patches, and is "
    "looked for before them): the null test finds it; SigLIP's are right"
)

# Converted as a Llama, which has no sliding window (conversion/llama.py); a tiny one diverged by 0.16 nats a token.
_NO_WINDOW = ("MistralForCausalLM", "MixtralForCausalLM")

_BUILD = "edgehone.backends.llamacpp.build"
_ENCODER = "edgehone.backends.llamacpp.encoder_build"
_VISION = "edgehone.backends.llamacpp.vision_build"
_GPTQ = "edgehone.backends.llamacpp.gptq"
LINK_ORIGINAL = Step(f"{_BUILD}:link_original", reads=("model",), links=True)
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def supports(model: ModelInfo) -> Support:
    """Whether llama.cpp takes it; what only the conversion can tell is a note."""
    if refusals := _refusals(model):
        return Support(False, tuple(refusals))
    if model.task == "image-text-to-text":
        return Support(True, (*_checkpoint_notes(model), _CLIP))
    if model.format == "gguf":
        notes = _gguf_notes(model)
    elif model.kind == "graph":
        notes = ["its hidden states are compared; token types other than 0 cannot be fed to libllama"]
    else:
        notes = _checkpoint_notes(model)
    return Support(True, tuple(notes))


def _refusals(model: ModelInfo) -> list[str]:
    if model.format == "gguf":
        return gguf_refusals(model)
    reasons = []
    if model.format != "huggingface":
        reasons.append(f"the converter reads Hugging Face folders, not '{model.format}'")
    if model.task == "image-text-to-text":
        reasons += _blind(model)
    elif model.architecture not in architectures():
        reasons.append(f"llama.cpp's converter has no architecture '{model.architecture}'")
    reasons += _task_refusals(model)
    if model.remote_code:
        reasons.append("the model brings code of its own, which is not run")
    if model.quantized:
        reasons.append(f"quantized already ({model.quantized}): give the unquantized original")
    return reasons


def _blind(model: ModelInfo) -> list[str]:
    """Why a model that sees is not taken; empty where it is."""
    if model.model_type in SEEN:
        return []
    return [
        f"of models that see, {', '.join(SEEN)} is taken, not '{model.model_type}': llama.cpp's converter does not "
        "read the names that transformers 5 saves their tensors under"
    ]


def _task_refusals(model: ModelInfo) -> list[str]:
    if model.kind == "language":
        return []
    if model.task != "feature-extraction":
        return [
            f"only text generation and the hidden states of encoders can be run, not '{model.task}': "
            "llama.cpp's converter drops or replaces the heads"
        ]
    if model.model_type not in ENCODERS:
        return [f"of encoders only {', '.join(ENCODERS)} are taken, not '{model.model_type}'"]
    return []


def gguf_refusals(model: ModelInfo) -> list[str]:
    """Why a GGUF file cannot be taken; empty where it can."""
    if _PART.search(model.path.name):
        return [
            f"{model.path.name} is one part of several: llama-gguf-split --merge {model.path.name} whole.gguf"
        ]
    if model.kind != "language":
        return [f"only text generation can be scored from a GGUF file, not '{model.task}'"]
    return []


def _gguf_notes(model: ModelInfo) -> list[str]:
    if coarse := llamacpp_recipes.coarse(model):
        kept = ", ".join(llamacpp_recipes.SOURCES)
        return [
            f"quantized already ({', '.join(coarse)}): it is run as it is, but quantizing it again would lose "
            f"more than it gains; give a file in {kept}"
        ]
    return []


def _checkpoint_notes(model: ModelInfo) -> list[str]:
    notes = []
    if model.tokenizer != "sentencepiece":
        notes.append(
            f"tokenizer '{model.tokenizer}': converts only if llama.cpp knows its pre-tokenizer, "
            "which the conversion finds out"
        )
    if len(model.dtypes) and set(model.dtypes) - {"F32", "F16", "BF16"}:
        notes.append(f"weights stored as {', '.join(sorted(model.dtypes))} are cast to F16")
    if model.architecture in _NO_WINDOW and model.sliding_window:
        notes.append(
            f"libllama attends to all of the context where the original sees {model.sliding_window} tokens: beyond "
            "these the output is not the original's, which only a null test with longer windows sees"
        )
    return notes


@functools.cache
def architectures() -> frozenset[str]:
    """The architecture names, as config.json gives them, that the converter registers for text."""
    text = Path(__file__).with_name("architectures.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def recipes(model: ModelInfo) -> list[Recipe]:
    """The exact one, then each quantized type, in order of promise."""
    if model.format == "gguf":
        return llamacpp_recipes.of_gguf(model)
    if model.kind == "graph":
        return llamacpp_recipes.of_encoder(model)
    if model.task == "image-text-to-text":
        return llamacpp_recipes.seeing(llamacpp_recipes.of_checkpoint(model))
    return llamacpp_recipes.of_checkpoint(model)


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """The settings that may be searched for an artifact: llamacpp_recipes.toml."""
    return llamacpp_recipes.tunable_settings(recipe, device, context)


def steps(recipe: Recipe) -> Step:
    """convert or adopt → [imatrix] → quantize → [GPTQ]; recipes share the first two. What sees gets its projector."""
    built = _language_steps(recipe)
    if recipe.build.get("source") != "vision":
        return built
    projector = Step(f"{_VISION}:projector", reads=("model",))
    return Step(f"{_VISION}:join", inputs={"language": built, "projector": projector})


def _language_steps(recipe: Recipe) -> Step:
    build, source = recipe.build, recipe.build.get("source")
    if source == "gguf":
        converted = LINK_ORIGINAL
    elif source == "encoder":
        converted = Step(f"{_ENCODER}:convert", {"outtype": "f32"}, reads=("model",))
    elif source == "vision":
        converted = Step(
            f"{_BUILD}:convert", inputs={"model": Step(f"{_VISION}:language_model", reads=("model",))}
        )
    else:
        converted = Step(f"{_BUILD}:convert", reads=("model",))
    if recipe.exact:
        return converted
    inputs = {"converted": converted}
    if build.get("imatrix"):
        inputs["imatrix"] = Step(f"{_BUILD}:imatrix", inputs=dict(inputs), reads=("calibration",))
    params = {name: build[name] for name in ("type", "requantize", "tensor_types") if name in build}
    reads: tuple[str, ...] = ()
    if "mix" in build:
        params["mix"] = {**build["mix"], **llamacpp_recipes.menu()}
        reads = ("sensitivity",)
    quantized = Step(f"{_BUILD}:quantize", params, inputs, reads)
    if not build.get("gptq"):
        return quantized
    # llama-quantize by itself gives the head 6 bits and more, which leave little to gain; a mix may give it fewer.
    moments = Step(f"{_GPTQ}:hessians", {"head": True} if reads else {}, reads=("model", "calibration"))
    inputs = {"quantized": quantized, "converted": converted, "hessians": moments}
    return Step(f"{_GPTQ}:refine", {"mix": params["mix"]} if reads else {}, inputs, reads)


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> LlamaSession:
    """Load artifact/model.gguf, memory-mapped unless told otherwise.

    settings: kv_cache 'f16' (default) or 'q8_0', flash_attention true or false (default: llama.cpp decides), batch and
    ubatch (tokens), decode_threads (default: job.threads), load 'mmap' (default), 'mlock' or 'read'.
    Raises EdgehoneError with libllama's own words when it cannot be loaded.
    """
    from edgehone.backends.llamacpp.build import ARTIFACT, tools
    from edgehone.backends.llamacpp.session import LlamaSession

    library = tools(job).binding()
    return LlamaSession(library, artifact / ARTIFACT, settings, job.threads)


def open_vision(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> LlamaVision:
    """The same with artifact/mmproj.gguf, shown pictures."""
    from edgehone.backends.llamacpp.build import ARTIFACT, tools
    from edgehone.backends.llamacpp.vision import LlamaVision
    from edgehone.backends.llamacpp.vision_build import PROJECTOR

    found = tools(job)
    libraries = found.binding(), found.vision_binding()
    return LlamaVision(libraries, artifact / ARTIFACT, artifact / PROJECTOR, settings, job.threads)


def open_routing(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> RoutingSession:
    """The same, telling which experts libllama's own graph chooses."""
    from edgehone.backends.llamacpp.build import ARTIFACT, tools
    from edgehone.backends.llamacpp.routing import RoutingSession

    return RoutingSession(tools(job).binding(), artifact / ARTIFACT, settings, job.threads)


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> EncoderSession:
    """Load an encoder: input_ids and attention_mask in, last_hidden_state out.

    settings: positions (the model type). Raises EdgehoneError with libllama's own words when it cannot be loaded.
    """
    from edgehone.backends.llamacpp.build import ARTIFACT, tools
    from edgehone.backends.llamacpp.encoder import EncoderSession

    library = tools(job).binding()
    return EncoderSession(library, artifact / ARTIFACT, settings, job.threads)
