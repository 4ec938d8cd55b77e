"""Options of a run: built from keyword arguments, and written as a command line."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.optimize.options import OptimizeOptions, Options


def test_keyword_arguments_fields_and_docstring_list_the_same_options() -> None:
    keywords = set(Options.__annotations__)
    assert keywords == {field.name for field in fields(OptimizeOptions)} - {"model"}
    documented = inspect.getdoc(edgehone.optimize) or ""
    assert all(f"`{name}`" in documented for name in keywords)


@pytest.mark.parametrize(
    ("name", "hint"), [("worklod", "did you mean 'workload'"), ("frobnicate", "known: device, workers")]
)
def test_an_unknown_option_is_a_type_error_that_names_the_nearest(name: str, hint: str) -> None:
    options: Any = {name: "chat"}
    with pytest.raises(TypeError, match=f"no option '{name}'; {hint}"):
        edgehone.optimize("model", **options)


def test_lists_become_tuples_and_an_empty_list_of_backends_means_all() -> None:
    found = OptimizeOptions.of("model", {"gates": ["speedup=1"], "backends": []})
    assert (found.gates, found.minimize, found.backends) == (("speedup=1",), (), None)
    assert OptimizeOptions.of("model", {"backends": ["null"]}).backends == ("null",)


def test_the_command_line_repeats_every_option(tmp_path: Path) -> None:
    options = OptimizeOptions.of(
        tmp_path, {"effort": "quick", "time": 60, "gates": ["speedup=off"], "out": "b"}
    )
    assert options.command() == [
        "edgehone", "optimize", str(tmp_path), "--effort", "quick", "--time", "60",
        "--gate", "speedup=off", "--out", str(Path("b").resolve()),
    ]  # fmt: skip


def test_the_command_line_repeats_what_to_do_on_a_busy_machine(tmp_path: Path) -> None:
    words = OptimizeOptions.of(tmp_path, {"when_busy": "measure"}).command()
    assert words[words.index("--when-busy") + 1] == "measure"
    assert "--when-busy" not in OptimizeOptions.of(tmp_path, {}).command()
