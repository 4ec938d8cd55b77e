"""Run a packaged graph with a build of ONNX Runtime that edgehone did not use to prove it."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path

from edgehone.backends.olive import backend as olive
from edgehone.package import canary_files
from edgehone.package.onnx_check import check_graph
from edgehone.package.peers import python_of
from edgehone.package.programs import check_program
from edgehone.package.target import Check
from edgehone.package.targets.onnxruntime.web_runtime import FILES

_NAME = "onnxruntime-web in Node.js gives the proven outputs"


def run(folder: Path, scratch: Path) -> Sequence[Check]:
    """Return the outcomes for a folder that the target built."""
    if (folder / "python").is_dir():
        return (_in_python(folder, scratch),)
    (graph,) = (folder / "onnx").glob("*.onnx")
    canary = folder / canary_files.FOLDER
    return (
        check_graph("onnxruntime gives the proven outputs of the graph", graph, canary, scratch),
        _in_ort_format(folder, canary, scratch),
        _in_javascript(folder),
    )


def _in_ort_format(folder: Path, canary: Path, scratch: Path) -> Check:
    name = "onnxruntime gives the proven outputs of the ORT format"
    converted = folder / "ort" / "model.ort"
    if not filecmp.cmp(converted, folder / "web" / "model.ort", shallow=False):
        return Check(name, "failed", "web/model.ort is not ort/model.ort")
    return check_graph(name, converted, canary, scratch)


def _in_python(folder: Path, scratch: Path) -> Check:
    """Run the sample of a language model in Olive's environment."""
    name = "onnxruntime-genai generates a canary with the sample"
    python = python_of(olive.NAME, olive.NEEDS)
    if python is None:
        return Check(name, "skipped", "onnxruntime-genai is not installed: edgehone backends install olive")
    script, model = (str((folder / one).absolute()) for one in ("python/generate.py", "model"))
    return check_program(name, [python, "-I", script, model], olive.NAME, folder=scratch)


def _in_javascript(folder: Path) -> Check:
    module = folder / "web" / "ort" / FILES[0]
    if not module.is_file():
        return Check(_NAME, "skipped", "the package is without onnxruntime-web (--set ort_web=npm)")
    sample = ["node", "javascript/node.mjs", "ort/model.ort", str(module.absolute())]
    return check_program(_NAME, sample, "nodejs", folder=folder)
