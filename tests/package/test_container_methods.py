"""Methods of dataclasses that are compiled when an image is built: taken where the text is the same, else compiled."""

from __future__ import annotations

import marshal
import subprocess
import sys
from pathlib import Path

METHODS = "edgehone.package.targets.container.methods"
POINT = (
    "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Point:\n    x: int\n    y: int = 2\n"
)
USE = "import dataclasses, sys; from edgehone.package.targets.container.modules import use_methods; "
USE += "use_methods(dataclasses, sys.argv[1]);"
SHOW = "import point; one = point.Point(1); print(one, one == point.Point(1), one in {point.Point(1)})"


def python(folder: Path, *words: object) -> str:
    """Run Python in a folder, from which modules are imported; return what it printed."""
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def written(folder: Path, name: str = "methods.bin") -> Path:
    (folder / "point.py").write_text(POINT)
    python(folder, "-m", METHODS, name, "point")
    return folder / name


def test_the_methods_of_a_file_are_taken(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert python(tmp_path, "-c", USE + SHOW, file) == "Point(x=1, y=2) True True"
    compiled = marshal.loads(file.read_bytes())
    (shown,) = (text for text in compiled if "x={self.x!r}" in text)
    other = compile(shown.replace("x=", "other="), "<string>", "exec")
    file.write_bytes(marshal.dumps({**compiled, shown: marshal.dumps(other)}))
    assert python(tmp_path, "-c", USE + SHOW, file) == "Point(other=1, y=2) True True"


def test_what_is_not_in_the_file_is_compiled(tmp_path: Path) -> None:
    file = written(tmp_path)
    # Of another size, so that Python does not take the bytecode of the one before, written in the same second.
    (tmp_path / "point.py").write_text(POINT.replace("y: int", "other: int"))
    assert python(tmp_path, "-c", USE + SHOW, file) == "Point(x=1, other=2) True True"


def test_the_file_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    assert written(tmp_path).read_bytes() == written(tmp_path, "again.bin").read_bytes()
