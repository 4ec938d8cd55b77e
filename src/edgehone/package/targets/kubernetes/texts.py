"""The templates in `templates/`, filled in and written."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

_LINE: Final = re.compile(r"^( *)\$(\w+)$", re.M)


def fill(name: str, values: Mapping[str, str]) -> str:
    """Return a template with its placeholders replaced.

    A placeholder that is alone on its line takes several lines, which are indented as it is; without any the line goes.
    """

    def lines(match: re.Match[str]) -> str:
        return textwrap.indent(values[match[2]].rstrip("\n"), match[1])

    text = re.sub(r"\n\s*\n", "\n", _LINE.sub(lines, text_of(f"{name}.template")))
    return Template(text).substitute(values)


def text_of(name: str) -> str:
    """Return a file of `templates/` as it is."""
    return files("edgehone.package.targets.kubernetes").joinpath("templates", name).read_text("utf-8")


def write(path: Path, text: str) -> None:
    """Write a file, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
