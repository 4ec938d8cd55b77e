"""Check a model repository: its configuration by Triton's own protobuf definition, and by Triton itself where it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.core.errors import SetupError
from edgehone.package import canary_files
from edgehone.package.onnx_check import check_graph
from edgehone.package.target import Check
from edgehone.package.targets.triton import server

_PARSED = "config.pbtxt is a ModelConfig of Triton"
_OPENED = "onnxruntime gives the proven outputs"
_ANSWERS = "Triton gives the proven outputs"


def run(folder: Path, scratch: Path) -> Sequence[Check]:
    """Return the outcomes for a package's folder."""
    (path,) = folder.glob("models/*/config.pbtxt")
    parsed, config = _parsed(path)
    (graph,) = path.parent.glob("1/*.onnx")
    opened = check_graph(_OPENED, graph, folder / canary_files.FOLDER, scratch)
    return (parsed, opened, _answers(folder, scratch, config))


def _parsed(path: Path) -> tuple[Check, Any]:
    """Parse the configuration strictly: unknown fields and values fail."""
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2
    except ImportError:
        return Check(
            _PARSED, "skipped", 'tritonclient is not installed (pip install "tritonclient[grpc]")'
        ), None
    try:
        config = text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        return Check(_PARSED, "failed", str(error)), None
    return Check(_PARSED, "passed"), config


def _reason(config: Any) -> str:
    """Return why the canary is not asked for; '' if it is."""
    if shutil.which(server.PROGRAM) is None:
        return f"{server.PROGRAM} is not installed"
    if config is None:
        return "the configuration was not parsed"
    if config.instance_group[0].kind == config.instance_group[0].KIND_GPU:
        return "the configuration asks for a GPU"
    if config.HasField("sequence_batching"):
        return "a canary is a single request; the states of sequences are not in it"
    return ""


def _answers(folder: Path, scratch: Path, config: Any) -> Check:
    if reason := _reason(config):
        return Check(_ANSWERS, "skipped", reason)
    question, answer, allowed = canary_files.read(folder / canary_files.FOLDER)
    scalars = {one.name for one in config.input if one.HasField("reshape")}
    # Triton writes bytecode beside model.py, so it gets a folder of links.
    repository = scratch / "repository"
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree((folder / "models").absolute(), repository, copy_function=os.symlink)
    try:
        with server.running(repository, scratch / "triton.log") as one:
            found = server.infer(one, config.name, question, answer, scalars)
    except server.NoBackendError as error:
        return Check(_ANSWERS, "skipped", f"{error.message} ({config.backend})")
    except SetupError as error:
        return Check(_ANSWERS, "failed", error.message)
    worst = canary_files.differing(answer, found, allowed)
    return Check(_ANSWERS, "failed" if worst else "passed", worst)
