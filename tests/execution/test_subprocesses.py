"""Child processes of installers."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import edgehone
from edgehone.execution.subprocesses import clean, run_lines


def run(program: str, tmp_path: Path) -> tuple[int, list[str]]:
    lines: list[str] = []
    command = [sys.executable, "-c", program]
    return run_lines(command, lines.append, env=os.environ, cwd=tmp_path), lines


def test_lines_of_both_outputs_and_the_exit_code_are_returned(tmp_path: Path) -> None:
    code, lines = run(
        "import sys; print('one\\n', flush=True); print('two', file=sys.stderr); sys.exit(3)", tmp_path
    )
    assert (code, lines) == (3, ["one", "", "two"])


def test_output_that_is_not_utf_8_is_replaced(tmp_path: Path) -> None:
    assert run("import sys; sys.stdout.buffer.write(b'\\xff\\xfe end')", tmp_path) == (
        0,
        ["\ufffd\ufffd end"],
    )


def test_standard_error_can_be_redirected(tmp_path: Path) -> None:
    lines: list[str] = []
    command = [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"]
    with (tmp_path / "log").open("wb") as log:
        run_lines(command, lines.append, env=os.environ, cwd=tmp_path, stderr=log)
    assert lines == ["out"] and (tmp_path / "log").read_text() == "err\n"


def test_processes_that_the_child_started_end_with_it(tmp_path: Path) -> None:
    # The second process leads a process group, as the compilers that ninja starts do.
    program = (
        "import subprocess\n"
        "for more in ({}, {'process_group': 0}):\n"
        "    left = subprocess.Popen(['sleep', '600'], stdout=-3, stderr=-3, **more)\n"
        "    print(left.pid)\n"
    )
    code, lines = run(program, tmp_path)
    assert code == 0 and len(lines) == 2
    listing = ["ps", "-o", "stat=", "-p", ",".join(lines)]
    states = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split()
    assert all(state.startswith("Z") for state in states)


def test_variables_that_affect_python_are_removed() -> None:
    assert clean({"VIRTUAL_ENV": "a", "PYTHONPATH": "b", "UV_PYTHON": "c", "HOME": "d"}) == {"HOME": "d"}


def python_modules(path: Path) -> list[list[str]]:
    """Return the command lines in a file that run a module of Python by `-m`, as source text of their words."""
    lists = [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.List | ast.Tuple)
    ]
    words = [[ast.unparse(word) for word in node.elts] for node in lists]
    python = ("sys.executable", "python", "interpreter", "'-P'", "'-I'")
    return [one for one in words if "'-m'" in one and (one[0] in python or one[0].endswith("/bin/python'"))]


def test_no_child_imports_modules_of_the_users_current_folder() -> None:
    """`python -m` puts the current folder first on the import path, where a file may be named like a module."""
    source = Path(edgehone.__file__).parent
    found = {path: python_modules(path) for path in source.rglob("*.py")}
    assert sum(map(len, found.values())) > 8
    bad = [
        (path.name, words)
        for path, commands in found.items()
        for words in commands
        if not {"'-P'", "'-I'", "*apart"} & set(words[: words.index("'-m'")])
    ]
    assert bad == []
