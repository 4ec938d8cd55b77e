"""Files of targets that are made from templates: `string.Template` with `$name`, in folders beside the target."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape


def filled(path: Path, values: Mapping[str, object]) -> str:
    """Return a template with its names replaced. Raises KeyError for a name without a value."""
    return Template(path.read_text("utf-8")).substitute(values)


def filled_xml(path: Path, values: Mapping[str, object]) -> str:
    """Return an XML template with its names replaced, so that any text stays text."""
    return filled(path, {name: escape(str(value), {'"': "&quot;"}) for name, value in values.items()})


def copy_files(source: Path, folder: Path) -> None:
    """Copy the files of a folder as they are, into a folder that may exist."""
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
