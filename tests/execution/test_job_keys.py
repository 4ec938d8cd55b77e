"""Keys of jobs: what they depend on, and above all what they do not."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgehone import backends
from edgehone.backends import registry
from edgehone.execution import source_digest
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Input, Job
from edgehone.transform.surgery.operations import OPERATIONS

Edit = Callable[[str], str]
LLAMACPP = "edgehone.backends.llamacpp"


def find_build_steps() -> dict[str, str]:
    """Every function that a `Step(…)` in the source of a backend names, and those of surgery, by a short name."""
    calls = {operation.apply for operation in OPERATIONS.values()}
    calls |= {operation.measure for operation in OPERATIONS.values() if operation.measure}
    for path in Path(backends.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        constants = {
            f"{{{target.id}}}": str(node.value.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Step":
                name, _, function = ast.unparse(node.args[0]).removeprefix("f").strip("'\"").partition(":")
                calls.add(f"{constants.get(name, name)}:{function}")
    return {call.removeprefix("edgehone.").removeprefix("backends."): call for call in sorted(calls)}


BUILD_STEPS = find_build_steps()
MODULES_OF_THE_CORE = (
    "edgehone.decision.gates",
    "edgehone.decision.decide",
    "edgehone.decision.choice",
    "edgehone.report.summary",
    "edgehone.report.html.page",
    "edgehone.cli.optimize",
    "edgehone.optimize.optimize",
    "edgehone.execution.job",
    "edgehone.execution.store",
)
ENV = Env("some", Path("/python"), None, "digest")


class EditedSource:
    """Source files as they would be after edits, without touching a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._edits: dict[Path, Edit] = {}
        monkeypatch.setattr(source_digest, "_read", self._read)

    def edit(self, module: str, change: Edit, file: str | None = None) -> None:
        """Edit a module, or a data file beside it."""
        path = path_of(module)
        path = path.with_name(file) if file else path
        assert change(path.read_text("utf-8")) != path.read_text("utf-8")
        self._edits[path] = change
        source_digest.source_digest.cache_clear()

    def undo(self) -> None:
        self._edits.clear()
        source_digest.source_digest.cache_clear()

    def _read(self, path: Path) -> str:
        text = path.read_text("utf-8")
        return self._edits[path](text) if path in self._edits else text


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[EditedSource]:
    source_digest.source_digest.cache_clear()
    yield EditedSource(monkeypatch)
    source_digest.source_digest.cache_clear()


@cache
def path_of(module: str) -> Path:
    spec = find_spec(module)
    assert spec and spec.origin
    return Path(spec.origin)


def key(call: str) -> str:
    return Job(call, ENV, {"bits": 8}, {"model": Input(Path("/model"), "model")}).key


def add_comment(text: str) -> str:
    return text.replace("\nfrom __future__", "\n# A comment.\nfrom __future__", 1)


def change_docstrings(text: str) -> str:
    """Replace every docstring of one line, and that of the module."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            docstring = node.body[0]
            if docstring.lineno == docstring.end_lineno:
                line = lines[docstring.lineno - 1]
                lines[docstring.lineno - 1] = line[: docstring.col_offset] + '"""Other words."""\n'
    return "".join(lines)


def reformat(text: str) -> str:
    return f"{ast.unparse(ast.parse(text))}\n"


def add_type_only_import(text: str) -> str:
    return (
        f"{text}\nfrom typing import TYPE_CHECKING as _T\n"
        if "TYPE_CHECKING" not in text
        else text.replace(
            "if TYPE_CHECKING:\n", "if TYPE_CHECKING:\n    from edgehone.decision.gates import check\n", 1
        )
    )


def add_statement(function: str) -> Edit:
    """An edit of code: a statement more in a function."""

    def change(text: str) -> str:
        node = next(
            one for one in ast.parse(text).body if isinstance(one, ast.FunctionDef) and one.name == function
        )
        lines = text.splitlines(keepends=True)
        lines.insert((node.body[-1].lineno) - 1, "    edited = 1\n")
        return "".join(lines)

    return change


def test_every_backend_has_build_steps() -> None:
    # "gguf" uses the steps of llamacpp.
    assert {name.partition(".")[0] for name in BUILD_STEPS} >= set(registry.names()) - {"gguf"}
    assert {"null.backend:quantize", "llamacpp.build:convert", "mlx.build:quantize"} <= BUILD_STEPS.keys()


@pytest.mark.parametrize("call", BUILD_STEPS.values(), ids=BUILD_STEPS)
def test_editing_a_gate_a_report_or_other_parts_of_the_core_changes_no_build_key(
    call: str, source: EditedSource
) -> None:
    before = key(call)
    for module in MODULES_OF_THE_CORE:
        source.edit(module, lambda text: f"{text}\nEDITED = 1\n")
    assert key(call) == before


@pytest.mark.parametrize("change", [add_comment, change_docstrings, reformat])
@pytest.mark.parametrize("call", BUILD_STEPS.values(), ids=BUILD_STEPS)
def test_editing_comments_docstrings_or_formatting_of_a_build_module_changes_no_build_key(
    call: str, change: Edit, source: EditedSource
) -> None:
    before = key(call)
    source.edit(call.partition(":")[0], change)
    source.edit("edgehone.backends.sessions", change)
    assert key(call) == before


@pytest.mark.parametrize("call", BUILD_STEPS.values(), ids=BUILD_STEPS)
def test_editing_the_code_of_a_build_step_changes_its_key(call: str, source: EditedSource) -> None:
    before = key(call)
    module, _, function = call.partition(":")
    source.edit(module, add_statement(function))
    assert key(call) != before


def test_editing_a_module_that_a_build_step_imports_changes_its_key(source: EditedSource) -> None:
    call = BUILD_STEPS["mlx.build:quantize"]
    before = key(call)
    source.edit("edgehone.transform.precision.solver", lambda text: f"{text}\nEDITED = 1\n")
    assert key(call) != before


def test_imports_for_the_type_checker_are_not_followed(source: EditedSource) -> None:
    call = BUILD_STEPS["null.backend:quantize"]
    before = key(call)
    source.edit("edgehone.backends.null.backend", add_type_only_import)
    assert key(call) == before
    source.edit("edgehone.decision.gates", lambda text: f"{text}\nEDITED = 1\n")
    assert key(call) == before


def test_editing_the_script_that_wraps_the_converter_changes_the_key_of_the_conversion(
    source: EditedSource,
) -> None:
    before = key(f"{LLAMACPP}.build:convert")
    source.edit(f"{LLAMACPP}.convert_any_tokenizer", lambda text: text.replace('"default"', '"gpt-2"'))
    assert key(f"{LLAMACPP}.build:convert") != before


def test_a_data_file_that_workers_read_is_part_of_the_key_without_its_comments(source: EditedSource) -> None:
    call = BUILD_STEPS["onnxruntime.placement:place"]
    module, file = "edgehone.backends.onnxruntime.devices", "providers.toml"
    before = key(call)
    source.edit(module, lambda text: f"# A comment.\n{text}", file)
    assert key(call) == before
    source.edit(module, lambda text: text.replace("ExecutionProvider", "Provider", 1), file)
    assert key(call) != before


@pytest.mark.parametrize(
    ("module", "file"),
    [
        (f"{LLAMACPP}.recipes", "recipes.toml"),
        ("edgehone.backends.openvino.backend", "recipes.toml"),
        ("edgehone.backends.mlx.backend", "recipes.toml"),
    ],
)
def test_a_table_that_the_core_reads_is_no_part_of_a_build_key(
    module: str, file: str, source: EditedSource
) -> None:
    before = [key(call) for call in BUILD_STEPS.values()]
    source.edit(module, lambda text: f'{text}\n[edited]\nx = "y"\n', file)
    assert [key(call) for call in BUILD_STEPS.values()] == before


SNIPPET = '''
"""Docstring."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from edgehone.model.info import ModelInfo
class A:
    pass
def f(x: int, /, *, y=f"{1:{2}}", z=...) -> str:  # a comment
    """Docstring."""
    match x:
        case [1, *rest] if rest: return f"{x!r}{y}" "tail"
    return u"text" + ("")
'''


def test_the_digest_of_code_is_the_same_in_every_version_of_python() -> None:
    assert source_digest._parse(SNIPPET, "package").digest[:16] == "83bbdb5d3da9d7ec"
