"""Bytecode that is gathered in one file when an image is built: a process that uses it behaves as without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.package.targets.container import modules

FILES = {
    "outer/__init__.py": "'''A package.'''\nNAME = __name__\n",
    "outer/inner.py": "from pathlib import Path\nTEXT = Path(__file__).with_name('data.txt').read_text()\n",
    "outer/data.txt": "data",
    "outer/failing.py": "def fail():\n    raise ValueError('on line 2')\n",
    "plain.py": "VALUE = 1\n",
    "later.py": "VALUE = 2\n",
}
NAMES = ["outer", "outer.inner", "outer.failing", "plain"]
# A copy of the module is imported by itself in images.
USE = "import sys; sys.path.insert(0, sys.argv[1]); import stored; stored.use(sys.argv[2])\n"
FACTS = """
import importlib, inspect, json
from importlib.resources import files
import outer.inner, outer.failing, plain, later
facts = {
    "file": outer.inner.__file__, "path": list(outer.__path__), "package": outer.inner.__package__,
    "cached": outer.inner.__cached__, "doc": outer.__doc__, "text": outer.inner.TEXT,
    "resource": (files("outer") / "data.txt").read_text(), "source": inspect.getsource(outer.failing.fail),
    "later": later.VALUE, "again": importlib.reload(plain).VALUE, "name": outer.NAME,
}
try:
    outer.failing.fail()
except ValueError as error:
    facts["line"] = error.__traceback__.tb_next.tb_lineno
try:
    import outer.missing
except ModuleNotFoundError as error:
    facts["missing"] = error.name
print(json.dumps([facts, type(outer.inner.__loader__).__name__, type(later.__loader__).__name__]))
"""


def python(folder: Path, code: str, *words: object) -> str:
    """Run code in a process that finds modules in a folder; return what it printed."""
    start = f"import sys; sys.path.insert(0, {str(folder / 'packages')!r})\n"
    command = [sys.executable, "-I", "-c", start + code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "stored.py").write_bytes(Path(modules.__file__).read_bytes())
    return tmp_path


def written(folder: Path, name: str = "modules.bin") -> Path:
    words = ["-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder / "packages"]
    subprocess.run([sys.executable, *map(str, words)], check=True)
    imports = f"import {', '.join(NAMES)}, json, os\n"
    code = f"from edgehone.package.targets.container import modules\n{imports}"
    python(folder, code + f"modules.write({str(folder / name)!r}, list(sys.modules))")
    return folder / name


def test_a_module_of_the_file_is_as_one_that_python_finds(folder: Path) -> None:
    file = written(folder)
    facts, loader, other = json.loads(python(folder, USE + FACTS, folder / "own", file))
    assert (loader, other) == ("_Loader", "SourceFileLoader")
    assert facts["line"] == 2 and facts["missing"] == "outer.missing" and facts["text"] == "data"
    usual, loader, _ = json.loads(python(folder, USE + FACTS, folder / "own", folder / "none"))
    assert facts == usual and loader == "SourceFileLoader"


def test_the_bytecode_is_that_of_the_file(folder: Path) -> None:
    file = written(folder)
    for path in [*(folder / "packages").rglob("*.pyc"), *(folder / "packages").rglob("*.py")]:
        path.unlink()
    assert python(folder, USE + "import plain; print(plain.VALUE)", folder / "own", file) == "1\n"


def test_the_file_has_the_same_bytes_each_time(folder: Path) -> None:
    assert written(folder).read_bytes() == written(folder, "again.bin").read_bytes()


def test_the_copy_imports_only_what_python_has_imported(folder: Path) -> None:
    code = "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); import stored; stored.use('none')\n"
    more = python(folder, code + "print(sorted({*sys.modules} - before))", folder / "own")
    assert set(json.loads(more.replace("'", '"'))) <= {"stored", "__future__", "importlib", "importlib._bootstrap",
        "importlib._bootstrap_external", "importlib.machinery", "warnings"}  # fmt: skip
