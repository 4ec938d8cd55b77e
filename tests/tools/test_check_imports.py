"""The check of imports: order of the units, circles, and what a worker process loads."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_imports


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose package holds one empty module in each of a few units."""
    for name in (
        "core/errors",
        "model/info",
        "model/inspect",
        "backends/base",
        "worker/speed",
        "execution/job",
    ):
        put(tmp_path, name, "")
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    """Write module `name` of the package."""
    path = root / "src" / "edgehone" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    for folder in (path.parent, root / "src" / "edgehone"):
        (folder / "__init__.py").touch()


def test_the_repository_passes() -> None:
    assert check_imports.check(check_imports.ROOT) == []


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("from edgehone.core.errors import InputError", None),
        ("from edgehone.core import errors", None),
        ("import json", None),
        ("from edgehone.model import inspect", None),
        ("from edgehone.execution.job import run", "execution"),
        ("from edgehone.execution import job", "execution"),
        ("from edgehone.core import errors\nfrom edgehone import cli", None),
        ("import edgehone.cli.main", "cli"),
        ("def f():\n    if f:\n        from edgehone.execution.job import run", "execution"),
        ("from edgehone.nowhere import x", "edgehone.nowhere"),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from edgehone.execution.job import run",
            None,
        ),
    ],
)
def test_imports_against_the_order_are_found(root: Path, text: str, forbidden: str | None) -> None:
    put(root, "model/info", text)
    expected = [] if forbidden is None else [f"edgehone.model.info: model may not import {forbidden}"]
    assert check_imports.check(root) == expected


def test_a_subpackage_with_a_unit_of_its_own_is_ordered_apart_from_its_siblings(root: Path) -> None:
    put(root, "transform/precision/method", "")
    put(root, "transform/surgery/edit", "from edgehone.transform.precision import method")
    assert check_imports.check(root) == []
    put(root, "backends/base", "from edgehone.transform.surgery import edit")
    assert check_imports.check(root) == ["edgehone.backends.base: backends may not import transform.surgery"]


def test_a_module_that_belongs_to_no_unit_is_found(root: Path) -> None:
    put(root, "novelty", "")
    assert check_imports.check(root) == [
        "edgehone.novelty has no place in the order of imports (tools/check_imports.py)"
    ]


def test_the_packages_own_init_may_import_any_unit(root: Path) -> None:
    put(root, "cli/main", "")
    put(root, "__init__", "from edgehone.cli import main")
    assert check_imports.check(root) == []


@pytest.mark.parametrize(
    "back",
    [
        "from edgehone.model import info",
        "def f():\n    from edgehone.model import info",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from edgehone.model import info",
    ],
)
def test_a_circle_of_imports_is_found_even_for_the_type_checker_alone(root: Path, back: str) -> None:
    put(root, "model/info", "from edgehone.model import middle")
    put(root, "model/middle", "from edgehone.model import inspect")
    put(root, "model/inspect", back)
    assert check_imports.check(root) == [
        "a circle of imports: edgehone.model.info ↔ edgehone.model.inspect ↔ edgehone.model.middle"
    ]


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("import json\nimport numpy as np", None),
        ("def f():\n    import torch", None),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", None),
        ("import torch", "torch"),
        ("try:\n    import torch\nexcept ImportError:\n    pass", "torch"),
    ],
)
def test_a_worker_module_loads_the_standard_library_and_numpy_only(
    root: Path, text: str, foreign: str | None
) -> None:
    put(root, "worker/speed", text)
    assert [problem.split(" when ")[0] for problem in check_imports.check(root)] == (
        [] if foreign is None else [f"edgehone.worker.speed: imports {foreign}"]
    )


def test_what_a_worker_module_loads_through_another_counts(root: Path) -> None:
    put(root, "worker/speed", "from edgehone.model import info")
    put(root, "model/info", "import psutil")
    (problem,) = check_imports.check(root)
    assert problem.startswith("edgehone.worker.speed: imports psutil when loaded (edgehone.model.info)")


def test_problems_are_printed_and_make_it_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_imports, "check", lambda root: ["a problem"])
    assert check_imports.main() == 1
    assert capsys.readouterr().out == "a problem\n"
    monkeypatch.setattr(check_imports, "check", lambda root: [])
    assert check_imports.main() == 0
