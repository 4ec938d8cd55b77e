"""Backends of the tests' own: the one that docs/backends.md prints, as it is or with one rule broken."""

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
    """The backend that the page prints."""
    (found,) = re.findall(r"^```python\n(\"\"\"half.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
    return str(found)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Registers a module of the given name and source as an installer does; gives the backend's name."""
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
