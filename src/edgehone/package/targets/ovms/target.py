"""Configuration and models for OpenVINO Model Server: graphs in version folders, language models with graph.pbtxt.

Checked against the server's documents; the server itself is not run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

from edgehone.backends.openvino.ir import MODEL, PORTS
from edgehone.backends.openvino.session import COMMON
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.package import canary_files, graphs
from edgehone.package.settings import drafting_notes
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.ovms import checks

NAME: Final = "ovms"
SUMMARY: Final = "configuration and models for OpenVINO Model Server"
TOOLS: Sequence[Tool] = ()
_BOTH: Final = "cpu_gpu_auto"
DEVICES: Final = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU", _BOTH: "AUTO:GPU,CPU"}
OPTIONS: Sequence[Option] = (
    Option("name", "name of the model"),
    Option("acceleration", "what the model runs on (default: what it was proven on)", None, tuple(DEVICES)),
    Option(
        "batch_processing",
        "of a language model: dynamic joins requests, with another attention kernel than the proven one; static "
        "answers one request after another with the proven kernel",
        "dynamic",
        ("dynamic", "static"),
    ),
    Option(
        "cache_gb",
        "of a language model with dynamic batches: memory of the KV cache in GB; 0: as needed",
        "0",
    ),
    Option("max_requests", "of a language model: requests that are worked on at the same time", "256"),
)
BUDGET: int | None = None
_FILES = resources.files(__package__)
_TEMPLATE = "chat_template.jinja"


def refuses(bundle: Bundle) -> str | None:
    """Return why OpenVINO Model Server cannot serve the bundle's artifact."""
    if reason := graphs.refused(bundle):
        return reason
    backend = bundle.manifest.recipe["backend"]
    if backend != "openvino":
        return f"its artifact is {backend}'s; OpenVINO Model Server is packaged with what the backend openvino builds"
    if bundle.manifest.kind == "language" and not (bundle.artifact / checks.TOKENIZER).is_file():
        return f"its artifact has no {checks.TOKENIZER}, by which the server tokenizes"
    return None


def build(request: Request, folder: Path) -> Built:
    """Write config.json and the model's folder."""
    bundle, name = request.bundle, graphs.model_name(request)
    device = _device(request)
    config: dict[str, Any] = {"name": name, "base_path": name}
    if bundle.manifest.kind == "graph":
        names = (MODEL, MODEL.replace(".xml", ".bin"))
        carried = graphs.carry(bundle, folder, f"models/{name}/1", names)
        question, answer = graphs.canaries_of(bundle)[0]
        quantized = bool(bundle.manifest.facts.get("quantized"))
        canary_files.write(folder / canary_files.FOLDER, question, answer, quantized=quantized)
        config |= {"target_device": device, "plugin_config": _plugin(bundle, device)}
    else:
        carried = _language(request, folder, name, device)
    text = json.dumps({"model_config_list": [{"config": config}]}, indent=1) + "\n"
    (folder / "models" / "config.json").write_text(text, "utf-8")
    ask = Template((_FILES / f"ask_{bundle.manifest.kind}.md").read_text("utf-8")).substitute(name=name)
    readme = Template((_FILES / "README.md").read_text("utf-8")).substitute(
        name=name,
        ask=ask.strip(),
        version=graphs.version_of(bundle, "openvino"),
        architecture=bundle.manifest.device["architecture"],
    )
    return Built(
        (Deliverable("models", "repository"),),
        carried,
        readme,
        tuple(_notes(request, device)),
        left_out=(f"artifact/{PORTS}",),  # the names that the inputs had in the original, for `edgehone run`
    )


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Compare the configuration with the server's documents, and ask OpenVINO for the canaries with its properties."""
    return checks.run(folder, scratch)


def _language(request: Request, folder: Path, name: str, device: str) -> tuple[Carried, ...]:
    bundle, at = request.bundle, f"models/{name}"
    carried = graphs.carry(bundle, folder, at)
    if (
        bundle.tokenizer
        and (bundle.tokenizer / _TEMPLATE).is_file()
        and not (folder / at / _TEMPLATE).exists()
    ):
        shutil.copyfile(bundle.tokenizer / _TEMPLATE, folder / at / _TEMPLATE)
        carried = (*carried, Carried(f"tokenizer/{_TEMPLATE}", f"{at}/{_TEMPLATE}"))
    text = Template((_FILES / "graph.pbtxt").read_text("utf-8")).substitute(
        device=json.dumps(device),
        plugin_config=json.dumps(json.dumps(_plugin(bundle, device), sort_keys=True)),
        pipeline=_pipeline(request),
        more=_of_continuous(request.options),
    )
    (folder / at / "graph.pbtxt").write_text(text, "utf-8")
    return carried


def _device(request: Request) -> str:
    """Return OpenVINO's name of the device. The server's calculator for language models takes a single one."""
    bundle, asked = request.bundle, request.options.get("acceleration")
    if asked is None or (asked == _BOTH and bundle.manifest.kind == "language"):
        return str(bundle.manifest.recipe["settings"].get("device", "CPU"))
    return DEVICES[asked]


def _pipeline(request: Request) -> str:
    if request.options["batch_processing"] == "dynamic":
        return "AUTO"
    return "VLM" if request.bundle.manifest.pictures else "LM"


def _of_continuous(options: Mapping[str, str]) -> str:
    """Return the settings of continuous batching as lines of graph.pbtxt."""
    told = {"cache_size": _whole(options, "cache_gb"), "max_num_seqs": _whole(options, "max_requests", 1)}
    if options["batch_processing"] != "dynamic":
        return ""
    return "".join(f"      {name}: {value}\n" for name, value in told.items())


def _whole(options: Mapping[str, str], name: str, least: int = 0) -> int:
    text = options[name]
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise InputError(
            f"the option {name} of {NAME} is {text!r}", hint=f"give a whole number of at least {least}"
        )
    return int(text)


def _plugin(bundle: Bundle, device: str) -> dict[str, Any]:
    """Return the properties of OpenVINO's plug-in that the model was proven with."""
    settings = bundle.manifest.recipe["settings"]
    found = {COMMON[name]: settings[name] for name in sorted(COMMON.keys() & settings.keys())}
    found.setdefault("PERFORMANCE_HINT", "LATENCY")
    if bundle.manifest.kind == "language" and device == "CPU":
        found["KV_CACHE_PRECISION"] = settings.get("kv_cache", "u8")
    return found


def _notes(request: Request, device: str) -> list[str]:
    settings = request.bundle.manifest.recipe["settings"]
    notes = ["OpenVINO Model Server was not run; the layout was compared with its documents"]
    notes += drafting_notes(request.bundle, "this configuration")
    if request.options.get("acceleration") == _BOTH and request.bundle.manifest.kind == "language":
        notes.append(
            f"acceleration={_BOTH} is not met: the server runs a language model on one device, here {device}; "
            "acceleration=gpu or npu names another"
        )
    if device != settings.get("device", "CPU"):
        notes.append(f"the quality figures hold for {settings.get('device', 'CPU')}, not for {device}")
    if request.bundle.manifest.kind == "language" and request.options["batch_processing"] == "dynamic":
        notes.append(
            "continuous batching computes attention by another kernel (paged) than the proven one (SDPA): "
            "single tokens may differ; --set batch_processing=static keeps the proven kernel and answers one request "
            "at a time"
        )
    return notes
