"""Test backends: the one in docs/backends.md, unchanged or violating one requirement."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgehone.backends import registry

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
Install = Callable[[str, str], str]


def honest_source() -> str:
    """Return the source of the backend in docs/backends.md."""
    (found,) = re.findall(r"^```python\n(\"\"\"half.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
    return str(found)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that registers a module as an installer does, and returns the backend's name."""
    site = tmp_path / "site"
    made: list[str] = []

    def do(module: str, source: str) -> str:
        info = site / f"{module}-1.dist-info"
        info.mkdir(parents=True)
        info.joinpath("METADATA").write_text(f"Name: {module}\nVersion: 1\n")
        info.joinpath("entry_points.txt").write_text(f"[{registry.GROUP}]\nhalf = {module}\n")
        site.joinpath(f"{module}.py").write_text(source.replace("edgehone_half:", f"{module}:"))
        monkeypatch.syspath_prepend(site)
        registry._registered.cache_clear()
        made.append(module)
        return "half"

    yield do
    registry._registered.cache_clear()
    for module in made:
        sys.modules.pop(module, None)
