"""The public surface: pinned, all of it there, and free of cost until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgehone

PUBLIC = [
    "Bundle",
    "Candidate",
    "Decision",
    "Device",
    "EdgehoneError",
    "Event",
    "Figure",
    "InputError",
    "JobError",
    "ModelError",
    "ModelInfo",
    "NothingPasses",
    "SetupError",
    "TextError",
    "detect",
    "inspect",
    "optimize",
    "read",
    "verify",
]
HEAVY = ("msgspec", "numpy", "rich", "uv")


def loaded(program: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a program; its own ones are left out."""
    show = (
        "import sys; before = set(sys.modules)\n{}\nprint('\\nMODULES', *sorted(set(sys.modules) - before))"
    )
    told = subprocess.run(
        [sys.executable, "-c", show.format(program)], capture_output=True, text=True, check=True
    )
    return set(told.stdout.splitlines()[-1].split()[1:])


def test_the_public_names_are_these() -> None:
    assert edgehone.__all__ == PUBLIC == dir(edgehone)


def test_every_public_name_is_there() -> None:
    for name in PUBLIC:
        value = getattr(edgehone, name)
        assert callable(value) and value.__doc__, name
        assert value.__module__.startswith("edgehone.")


def test_star_gives_them_all() -> None:
    names: dict[str, object] = {}
    exec("from edgehone import *", names)
    assert set(PUBLIC) <= names.keys()


def test_optimize_is_the_function_once_the_command_line_is_loaded() -> None:
    # A submodule takes the place of a name of the package when it is first imported.
    for first in ("import edgehone.optimize.options", "import edgehone; edgehone.optimize"):
        program = f"{first}\nimport edgehone\nassert callable(edgehone.optimize), edgehone.optimize"
        subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'optimise'"):
        edgehone.optimise  # noqa: B018


def test_every_error_is_one_of_ours() -> None:
    for name in PUBLIC:
        value = getattr(edgehone, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, edgehone.EdgehoneError)


def test_importing_edgehone_loads_nothing() -> None:
    assert not loaded("import edgehone") & {*HEAVY, "argparse", "json", "edgehone.optimize.optimize"}


def test_help_loads_no_heavy_package() -> None:
    run = "from edgehone.cli.main import main\ntry:\n    main({})\nexcept SystemExit:\n    pass"
    for words in (["--help"], ["optimize", "--help"], ["--version"]):
        modules = loaded(run.format(words))
        assert "edgehone.cli.main" in modules
        assert not modules & set(HEAVY)


def test_the_core_imports_no_framework() -> None:
    frameworks = {
        "torch",
        "transformers",
        "openvino",
        "nncf",
        "optimum",
        "llama_cpp",
        "olive",
        "onnx",
        "onnxruntime",
        "mlx",
        "mlx_lm",
    }
    everything = (
        "import edgehone.optimize.optimize, edgehone.cli.main, edgehone.backends.registry as r\nr.load_all()"
    )
    assert not loaded(everything) & frameworks
