"""Read the licence of a model folder from the front matter of its model card, or from a licence file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_READ = 16_384  # characters of a card or licence file that are searched

# Title in the first lines of a licence text, and its identifier in model cards.
_TITLES: tuple[tuple[str, str], ...] = (
    (r"apache license,?\s+version 2\.0", "apache-2.0"),
    (r"\bmit license\b", "mit"),
    (r"bsd 3-clause", "bsd-3-clause"),
    (r"bsd 2-clause", "bsd-2-clause"),
    (r"gnu affero general public license\s+version 3", "agpl-3.0"),
    (r"gnu general public license\s+version 3", "gpl-3.0"),
    (r"mozilla public license,?\s+version 2\.0", "mpl-2.0"),
    (r"cc0 1\.0|creative commons zero", "cc0-1.0"),
    (r"creative commons attribution 4\.0", "cc-by-4.0"),
)


def read_licence(folder: Path) -> str | None:
    """Return the licence in the model card ("apache-2.0"), else the title of a licence file, else None."""
    return _from_card(folder) or next(_from_texts(folder), None)


def _from_card(folder: Path) -> str | None:
    text = _head(folder / "README.md")
    match = re.match(r"---\s*\n(.*?)\n---", text or "", re.DOTALL)
    if match is None:
        return None
    fields = _front_matter(match.group(1))
    licence = fields.get("license")
    if licence == "other":
        return fields.get("license_name") or "other"
    return licence


def _front_matter(block: str) -> dict[str, str]:
    """Return the values of the keys `license` and `license_name`. Lists are joined by ", "."""
    fields: dict[str, str] = {}
    for match in re.finditer(r"^(license|license_name):[ \t]*(.*(?:\n[ \t]*- .*)*)", block, re.MULTILINE):
        parts = re.split(r"[,\n]", re.sub(r"\s#.*|[\[\]]", "", match.group(2)))
        values = [re.sub(r"^-\s+", "", part.strip()).strip("\"' ") for part in parts]
        fields[match.group(1)] = ", ".join(value for value in values if value)
    return {key: value for key, value in fields.items() if value}


def _from_texts(folder: Path) -> Iterator[str]:
    pattern = re.compile("licen[cs]e|copying", re.IGNORECASE)
    for path in sorted(entry for entry in folder.iterdir() if pattern.match(entry.name) and entry.is_file()):
        text = _head(path)
        if not text or not text.strip():
            continue
        start = " ".join(text[:2000].split()).lower()
        known = next((name for title, name in _TITLES if re.search(title, start)), None)
        yield known or text.strip().splitlines()[0].strip()[:80]


def _head(path: Path) -> str | None:
    """Return the first characters of a text file, or None if it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_READ)
    except OSError:
        return None
