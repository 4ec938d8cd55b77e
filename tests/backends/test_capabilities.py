"""Capabilities: what the built-in backends have, how one is looked up, and which modules the checks refuse."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from edgehone.backends import registry
from edgehone.backends.capabilities import (
    CAPABILITIES,
    GraphBackend,
    OperatorProfiler,
    SensitivityBackend,
    SingleFileArtifact,
    VisionBackend,
    capabilities_of,
    capability,
    require,
)
from edgehone.backends.llamacpp.tools import ARTIFACT
from edgehone.backends.null import backend as null
from edgehone.backends.null.session import NullSession
from edgehone.backends.sessions import ConcurrentSession
from edgehone.conformance import capability_checks
from edgehone.conformance.subject import Subject
from edgehone.core.errors import SetupError
from edgehone.worker.conformance.outcome import Failed

# Changing an entry is a change of what a backend can do.
BUILT_IN = {
    "gguf": "reference tokenizer sensitivity shared_sessions empty_runtime",
    "llamacpp": "graph vision runtime_tokenizer engine serving_settings routing empty_runtime operator_profiler "
    "device_visibility device_recipes partial_offload tunable adapter single_file_artifact",
    "mlx": "engine empty_runtime device_visibility measurement_obstacle",
    "null": "reference tokenizer graph concurrent_graph engine serving_settings empty_runtime operator_profiler "
    "partial_offload tunable",
    "olive": "graph concurrent_graph engine empty_runtime operator_profiler device_visibility device_recipes tunable",
    "onnxruntime": "reference graph concurrent_graph empty_runtime operator_profiler device_visibility",
    "openvino": "graph concurrent_graph vision engine serving_settings routing empty_runtime operator_profiler "
    "device_visibility device_recipes tunable",
    "pytorch": "reference tokenizer picture_processor text_encoder sensitivity graph vision routing empty_runtime "
    "device_visibility",
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_backends_have_their_capabilities(name: str) -> None:
    assert capabilities_of(registry.load(name)) == BUILT_IN[name].split()


def test_every_capability_is_used_by_a_built_in_backend_and_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "backends.md").read_text("utf-8")
    for one in CAPABILITIES:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{one.name}` |")]
        assert f"| {one.side} |" in row and all(f"`{name}" in row for name in one.members)
    names = [one.name for one in CAPABILITIES]
    assert {*names} == {name for some in BUILT_IN.values() for name in some.split()}
    assert all(one.members and (one.protocol.__doc__ or "").strip() for one in CAPABILITIES)
    assert all(f"({one.side} side)" in (one.protocol.__doc__ or "") for one in CAPABILITIES)


def test_a_capability_is_the_module_itself_or_none() -> None:
    pytorch: object = registry.load("pytorch")
    assert capability(pytorch, GraphBackend) is pytorch
    assert capability(null, VisionBackend) is None
    found = capability(pytorch, SensitivityBackend)
    assert found is not None and found.SENSITIVITY.call.endswith("sensitivity:measure")


def test_an_imported_gguf_file_gets_the_name_that_a_session_opens() -> None:
    found = capability(registry.load("llamacpp"), SingleFileArtifact)
    assert found is not None and found.ARTIFACT_FILE == ARTIFACT


def test_a_missing_capability_names_the_backend_and_the_functions() -> None:
    assert require(registry.load("null"), OperatorProfiler) is null
    with pytest.raises(SetupError, match=r"'null' lacks the capability 'vision' \(open_vision\)"):
        require(registry.load("null"), VisionBackend)


def test_sessions_have_capabilities_too() -> None:
    assert isinstance(NullSession.generate_many, types.FunctionType)
    assert capability(NullSession.__new__(NullSession), ConcurrentSession) is not None
    assert capability(object(), ConcurrentSession) is None


def _subject(**names: object) -> Subject:
    module = types.ModuleType("theirs")
    vars(module).update({name: getattr(null, name) for name in registry.REQUIRED}, **names)
    return Subject("theirs", "theirs", module, ())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("open_graphs", "open_graph"),
        ("opengraph", "open_graph"),
        ("operator_time", "operator_times"),
        ("tunable_setting", "tunable_settings"),
        ("artifact_file", "ARTIFACT_FILE"),
        ("SENSITIVITIES", "SENSITIVITY"),
    ],
)
def test_a_misspelled_capability_is_refused_with_the_name_meant(name: str, meant: str) -> None:
    value = (lambda: None) if name.islower() else "model.bin"
    with pytest.raises(Failed, match=f"did you mean {meant}"):
        capability_checks.capability_names_are_spelled_correctly(_subject(**{name: value}))


def test_other_public_names_and_helper_modules_are_accepted() -> None:
    subject = _subject(link_original=print, BUILD="x", sensitivity=types, Devices=type("Devices", (), {}))
    capability_checks.capability_names_are_spelled_correctly(subject)


def test_a_function_that_accepts_the_call_is_accepted_whatever_its_parameters_are_called() -> None:
    def open_graph(folder: object, options: object, job: object, extra: int = 0) -> None: ...
    def operator_times(artifact: object, settings: object, job: object, *, feeds: object) -> None: ...

    subject = _subject(open_graph=open_graph, operator_times=operator_times, devices=lambda *jobs: {})
    listed = capability_checks.capabilities_are_complete_and_callable(subject)
    assert listed == "graph, operator_profiler, device_visibility"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"open_graph": lambda artifact, settings: None}, "too many positional arguments"),
        ({"open_graph": lambda artifact, settings, job, clients: None}, "without clients"),
        ({"open_graph": lambda artifact, settings, job, *, clients: None}, "without clients"),
        ({"operator_times": lambda artifact, settings, job: None}, "accepts no keyword"),
        ({"open_graph": 3}, "not a function"),
        ({"SENSITIVITY": "module:function"}, "not a Step"),
        ({"ARTIFACT_FILE": None}, "not a str"),
        ({"original": lambda model: None}, "original without reference"),
    ],
)
def test_a_capability_that_does_not_fit_is_refused(names: dict[str, object], problem: str) -> None:
    with pytest.raises(Failed, match=problem):
        capability_checks.capabilities_are_complete_and_callable(_subject(**names))
