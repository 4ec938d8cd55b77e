"""How the programs are told to run the artifact as it was measured: settings, sampling, end of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from edgehone.backends.llamacpp.tools import PROJECTOR
from edgehone.backends.openvino.placement import CPU, device_properties
from edgehone.backends.openvino.session import properties
from edgehone.bundle.read import Bundle
from edgehone.formats.gguf import read_header
from edgehone.inference import sampling
from edgehone.package.llama_server import context, has_pictures


def openvino_properties(bundle: Bundle) -> dict[str, Any]:
    """Return the properties of OpenVINO GenAI's pipeline with which the bundle was measured.

    The number of threads belongs to the machine and is left to the runtime, unless a search chose it.
    """
    settings: Mapping[str, Any] = bundle.manifest.recipe["settings"]
    own = properties(settings, int(settings.get("threads", 0)))
    if not own["INFERENCE_NUM_THREADS"]:
        del own["INFERENCE_NUM_THREADS"]
    return {"ATTENTION_BACKEND": "SDPA", **device_properties(settings, own)}


def openvino_device(bundle: Bundle) -> str:
    """Return the device that the bundle was measured on."""
    return str(bundle.manifest.recipe["settings"].get("device", CPU))


def modelfile(bundle: Bundle, artifact: str, template: Template) -> tuple[str, str]:
    """Return Ollama's Modelfile, and a note on the chat template.

    A chat template is Jinja, and Ollama's are Go templates, into which Jinja cannot be translated in general. Ollama
    recognizes usual templates in the GGUF file by their text and takes its own for them. Without a chat template the
    prompt is passed as it is, which Ollama does only if it is told so.
    """
    has_template = "tokenizer.chat_template" in read_header(bundle.artifact / "model.gguf").values
    if has_template:
        chat = "# The chat template is read from the GGUF file."
        note = (
            "Ollama takes a Go template of its own if it recognizes the chat template in the GGUF file, and otherwise "
            "passes prompts on unchanged: compare `ollama show --template` with the model's template. It was not run "
            "by Ollama"
        )
    else:
        chat = 'TEMPLATE """{{ .Prompt }}"""'
        note = "the model has no chat template: Ollama passes prompts on unchanged. It was not run by Ollama"
    artifacts = [artifact, *([PROJECTOR] if has_pictures(bundle) else [])]
    lines = [f"PARAMETER {name} {value}" for name, value in _parameters(bundle).items()]
    lines += [f"PARAMETER stop {json.dumps(text, ensure_ascii=False)}" for text in stop_strings(bundle)]
    froms = "\n".join(f"FROM ./{one}" for one in artifacts)
    return template.substitute(artifacts=froms, template=chat, parameters="\n".join(lines)), note


def _parameters(bundle: Bundle) -> dict[str, Any]:
    fields = sampling.settings(sampling.SamplingOptions(seed=0), bundle.tokenizer) or {}
    settings: Mapping[str, Any] = bundle.manifest.recipe["settings"]
    parameters: dict[str, Any] = {
        "temperature": fields.get("temperature", 0.0),
        "repeat_penalty": fields.get("repetition_penalty", 1.0),
        "num_ctx": context(bundle),
    }
    if fields.get("temperature"):
        parameters |= {"top_k": fields["top_k"], "top_p": fields["top_p"]}
    if threads := settings.get("decode_threads", settings.get("threads")):
        parameters["num_thread"] = threads
    return parameters


def stop_strings(bundle: Bundle) -> list[str]:
    """Return the special tokens that end a text, as tokenizer.json spells them; the GGUF file has their ids too."""
    folder = bundle.tokenizer
    if folder is None or not (folder / "tokenizer.json").is_file():
        return []
    added = _added_tokens(folder / "tokenizer.json")
    return [added[one] for one in bundle.manifest.eos if one in added]


def _added_tokens(path: Path) -> dict[int, str]:
    data = json.loads(path.read_text("utf-8"))
    return {int(one["id"]): str(one["content"]) for one in data.get("added_tokens", ())}
