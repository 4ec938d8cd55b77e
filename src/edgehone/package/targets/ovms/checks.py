"""Check a repository: against the documents of OpenVINO Model Server, and by OpenVINO with the properties in it.

The server runs the same libraries, so their answers tell whether model and properties belong together; the server
itself is not run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgehone.backends.openvino import backend as openvino
from edgehone.backends.openvino.ir import MODEL
from edgehone.package import canary_files
from edgehone.package.document import DOCUMENTS
from edgehone.package.onnx_check import compare
from edgehone.package.peers import PeerError, ask, python_of
from edgehone.package.target import Check
from edgehone.package.targets.ovms.documented import ModelConfig, parse_graph, read_config
from edgehone.serve.proof import LEAST

TOKENIZER: Final = "openvino_tokenizer.xml"
_ANSWERS = "OpenVINO gives the proven outputs with these properties"
_HERE = Path(__file__).parent


def run(folder: Path, scratch: Path) -> Sequence[Check]:
    """Return the outcomes for a package's folder."""
    config = read_config(folder / "models" / "config.json").model_config_list[0].config
    model = folder / "models" / config.base_path
    graph = model / "graph.pbtxt"
    server = Check("OpenVINO Model Server answers", "skipped", "it is not run; its documents were followed")
    if not graph.is_file():
        return (_layout(model), _of_graph(folder, config, scratch), server)
    return (_layout(model), _messages(graph), _of_language(folder, graph, scratch), server)


def _layout(model: Path) -> Check:
    """Check for the files that the server loads: a graph's are in the folder of a version."""
    language = (model / "graph.pbtxt").is_file()
    place = model if language else model / "1"
    # A vision-language model has another name for its language part.
    needed = [MODEL, MODEL.replace(".xml", ".bin")] if not language or (model / MODEL).is_file() else []
    needed += [TOKENIZER, "openvino_detokenizer.xml"] if language else []
    missing = [one for one in needed if not (place / one).is_file()]
    reason = f"missing: {', '.join(missing)}" if missing else ""
    return Check("layout of the repository", "failed" if missing else "passed", reason)


def _messages(path: Path) -> Check:
    name = "graph.pbtxt has the documented messages"
    try:
        from google.protobuf.text_format import ParseError
    except ImportError:
        return Check(name, "skipped", "protobuf is not installed (pip install protobuf)")
    try:
        parse_graph(path.read_text("utf-8"))
    except ParseError as error:
        return Check(name, "failed", str(error))
    return Check(name, "passed")


def _of_graph(folder: Path, config: ModelConfig, scratch: Path) -> Check:
    if skipped := _not_asked(config.target_device or "CPU"):
        return skipped
    python, canary = python_of(openvino.NAME, openvino.NEEDS), folder / canary_files.FOLDER
    assert python is not None
    graph = folder / "models" / config.base_path / "1" / MODEL
    asked = {
        "graph": str(graph.absolute()),
        "canary": str(canary.absolute()),
        "properties": dict(config.plugin_config or {}),
    }
    return compare(_ANSWERS, python, _HERE / "ask_graph.py", asked, canary, scratch)


def _of_language(folder: Path, graph: Path, scratch: Path) -> Check:
    text = graph.read_text("utf-8")
    device, plugin = (_value(text, name) for name in ("device", "plugin_config"))
    manifest = json.loads((folder / DOCUMENTS / "manifest.json").read_text("utf-8"))
    canaries = [(one["prompt"], one["answer"]) for one in manifest["canaries"] if "picture" not in one]
    if skipped := _not_asked(device):
        return skipped
    if manifest["pictures"] or not canaries:
        return Check(_ANSWERS, "skipped", "canaries with pictures are not asked for")
    python = python_of(openvino.NAME, openvino.NEEDS)
    assert python is not None
    # As the server does: with continuous batching the library chooses, without the attention is SDPA.
    attention = {} if "pipeline_type: AUTO" in text else {"ATTENTION_BACKEND": "SDPA"}
    asked = {
        "folder": str(graph.parent.absolute()),
        "properties": {**json.loads(plugin), **attention},
        "canaries": canaries,
    }
    try:
        told = ask(python, _HERE / "ask_language.py", asked, scratch)
    except PeerError as error:
        return Check(_ANSWERS, "failed", str(error))
    good = told["equal"] >= LEAST * told["tokens"]
    said = f"{told['equal']} of {told['tokens']} tokens are the proven ones"
    return Check(_ANSWERS, "passed" if good else "failed", "" if told["equal"] == told["tokens"] else said)


def _not_asked(device: str) -> Check | None:
    """Return why OpenVINO is not asked, None if it is."""
    if device != "CPU":
        return Check(_ANSWERS, "skipped", f"the configuration asks for {device}")
    if python_of(openvino.NAME, openvino.NEEDS) is None:
        return Check(_ANSWERS, "skipped", "openvino is not installed: edgehone backends install openvino")
    return None


def _value(text: str, name: str) -> Any:
    """Return the value of a field of the graph that is a text."""
    found = re.search(rf'^ *{name}: (".*")$', text, re.M)
    return json.loads(found[1]) if found else ""
