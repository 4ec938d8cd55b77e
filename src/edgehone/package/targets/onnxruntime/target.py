"""A graph for programs that load ONNX Runtime (Windows, macOS, Linux, browsers), or a folder for ONNX Runtime GenAI.

A graph comes as the proven .onnx file, and in the ORT format, which is converted here and proven again: its outputs are
compared with the bundle's canaries.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

from edgehone.bundle.read import Bundle
from edgehone.core.errors import SetupError
from edgehone.package import canary_files, graphs
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.onnxruntime import checks, samples, web_runtime

NAME: Final = "onnxruntime"
SUMMARY: Final = "ONNX and ORT format with samples in C, C#, JavaScript and for browsers"
TOOLS: Sequence[Tool] = ()
OPTIONS: Sequence[Option] = (
    Option("name", "name of the model"),
    Option(
        "optimization",
        "graph optimization of the ORT format: extended is for processors, basic for any device",
        "extended",
        ("basic", "extended"),
    ),
    Option(
        "ort_web",
        f"onnxruntime-web {web_runtime.VERSION} to put beside the page: npm, or the folder of its package",
        file=True,
    ),
)
BUDGET: int | None = None


def refuses(bundle: Bundle) -> str | None:
    """Return why ONNX Runtime cannot run the bundle's artifact."""
    if reason := graphs.refused(bundle):
        return reason
    backend = bundle.manifest.recipe["backend"]
    if backend not in graphs.ONNX_BACKENDS:
        return (
            f"its artifact is {backend}'s; ONNX Runtime loads what the backends olive and onnxruntime build"
        )
    return None


def build(request: Request, folder: Path) -> Built:
    """Write the folder of a graph or of a language model."""
    if request.bundle.manifest.kind == "graph":
        return _graph(request, folder)
    return _language(request, folder)


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Ask onnxruntime for the canary, and run the samples whose runtimes are at hand."""
    return checks.run(folder / built.deliverables[0].path, scratch)


def _graph(request: Request, folder: Path) -> Built:
    bundle, name = request.bundle, graphs.model_name(request)
    place = folder / name
    web = request.options.get("ort_web")
    runtime = web_runtime.find(web, request.tell) if web else None
    carried = graphs.carry(bundle, folder, f"{name}/onnx")
    request.tell("converting to the ORT format")
    facts = graphs.run_on_graph(
        request,
        "edgehone.worker.ort_format:convert",
        level=request.options["optimization"],
        output=str(place / "ort"),
    )
    proof = _proof(facts)
    question, answer = graphs.canaries_of(bundle)[0]
    quantized = bool(bundle.manifest.facts.get("quantized"))
    canary = canary_files.write(place / canary_files.FOLDER, question, answer, quantized=quantized)
    _samples(place, name, canary, graphs.version_of(bundle, "onnxruntime"), runtime)
    return Built(
        (Deliverable(name, "graph with samples"),),
        carried,
        Template(samples.text_of("README.md")).substitute(
            name=name,
            version=graphs.version_of(bundle, "onnxruntime"),
            architecture=bundle.manifest.device["architecture"],
            proof=proof,
            web="Serve the folder `web/` over HTTP:" if runtime else _WITHOUT_RUNTIME,
        ),
        (
            proof,
            "the samples in C and C# were not compiled for this package (edgehone's tests compile and run them)",
        ),
    )


_WITHOUT_RUNTIME = (
    f"Get onnxruntime-web (`npm pack onnxruntime-web@{web_runtime.VERSION}`), put {', '.join(web_runtime.FILES)} of "
    "its `dist/` into `web/ort/`, and serve the folder over HTTP:"
)


def _proof(facts: dict[str, Any]) -> str:
    """Return how near the converted graph is to the proven one. Raises SetupError if it is not near enough."""
    value, limit = facts["difference"], facts["limit"]
    if not value <= limit:
        raise SetupError(
            f"the graph in ORT format gives other outputs: {facts['output']!r} differs by {value:.2g} of its largest "
            f"entry (allowed: {limit:.2g})",
            hint="--set optimization=basic",
        )
    if value == 0:
        return "The ORT format was converted from the proven graph and gives equal outputs for all canaries."
    return (
        "The ORT format was converted from the proven graph; its outputs for the canaries differ by at most "
        f"{value:.2g} of the largest entry (allowed: {limit:.2g})."
    )


def _samples(
    place: Path, name: str, canary: dict[str, list[dict[str, Any]]], version: str, runtime: Path | None
) -> None:
    samples.place(place, "c", "main.c", "CMakeLists.txt")
    (place / "c" / "canary.h").write_text(samples.header(canary), "utf-8")
    samples.place(place, "csharp", "Program.cs")
    samples.place(place, "csharp", "sample.csproj", version=version)
    samples.place(place, "javascript", "canary.mjs", "node.mjs")
    samples.place(place, "javascript", "package.json", version=web_runtime.VERSION)
    samples.place(place, "web", "page.mjs", "canary.mjs")
    samples.place(place, "web", "index.html", name=name)
    # The page is complete in itself, so that the folder can be copied to where pages are served from.
    shutil.copyfile(place / "ort" / "model.ort", place / "web" / "model.ort")
    shutil.copytree(place / canary_files.FOLDER, place / "web" / canary_files.FOLDER)
    if runtime is not None:
        (place / "web" / "ort").mkdir()
        shutil.copyfile(runtime.parent / "package.json", place / "web" / "ort" / "package.json")
        for one in web_runtime.FILES:
            shutil.copyfile(runtime / one, place / "web" / "ort" / one)


def _language(request: Request, folder: Path) -> Built:
    bundle, name = request.bundle, graphs.model_name(request)
    place, version = folder / name, graphs.version_of(bundle, "onnxruntime-genai")
    carried: tuple[Carried, ...] = graphs.carry(bundle, folder, f"{name}/model")
    plain = next(one for one in bundle.manifest.canaries if "picture" not in one)
    text = json.dumps({part: plain[part] for part in ("prompt", "answer")})
    (place / "canary.json").write_text(text + "\n", "utf-8")
    samples.place(place, "python", "genai_generate.py.txt")
    samples.place(place, "csharp", "genai_Program.cs")
    samples.place(place, "csharp", "genai_sample.csproj", version=version)
    readme = Template(samples.text_of("genai_README.md")).substitute(
        name=name, version=version, architecture=bundle.manifest.device["architecture"]
    )
    return Built(
        (Deliverable(name, "folder for ONNX Runtime GenAI with samples"),),
        carried,
        readme,
        ("the sample in C# was not compiled",),
    )
