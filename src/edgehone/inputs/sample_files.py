"""The files of samples: images and sounds with their classes, transcripts, and texts with their labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgehone.core.errors import InputError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SOUNDS = (".wav",)
# Files that a user may take for samples, and that are not read.
_OTHERS = (
    ".gif", ".tif", ".tiff", ".jfif", ".jpe", ".jp2", ".avif", ".heic", ".heif", ".dng", ".ppm", ".pgm", ".tga",
    ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff",
)  # fmt: skip


def images(folder: Path) -> list[tuple[Path, int | None]]:
    """Return the image files below a folder with their class, None if all are in the folder itself."""
    return _classified(folder, IMAGES, "images")


def sounds(folder: Path) -> list[tuple[Path, int | None]]:
    """Return the WAV files below a folder with their class, None if all are in the folder itself."""
    return _classified(folder, SOUNDS, "sounds")


def transcripts(paths: Sequence[Path]) -> list[str] | None:
    """Return what is said in WAV files by the text files of the same names; None if none has one.

    Raises InputError if some are missing, empty or not UTF-8.
    """
    files = [path.with_suffix(".txt") for path in paths]
    there = [path for path in files if path.is_file()]
    if not there:
        return None
    if len(there) < len(files):
        lacking = next(path for path in files if not path.is_file())
        raise InputError(
            f"{len(there)} of {len(files)} sounds have a transcript, and {lacking} is missing",
            hint="put a text file beside each WAV file, or beside none",
        )
    found = []
    for path in files:
        try:
            found.append(path.read_text("utf-8-sig").strip())
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8: byte {error.start}", hint="save it as UTF-8") from error
        if not found[-1]:
            raise InputError(f"{path} is empty", hint="write what is said in the sound, or remove the sound")
    return found


def passed_over(folder: Path) -> str | None:
    """Return a sentence on images and sounds of formats that are not read; None if there are none."""
    others = [path for path in folder.rglob("*") if path.suffix.lower() in _OTHERS and path.is_file()]
    if not others:
        return None
    endings = ", ".join(sorted({path.suffix.lower() for path in others}))
    return (
        f"{len(others)} file{'s' * (len(others) > 1)} in {folder} ({endings}) are not samples: images are read from "
        f"{', '.join(IMAGES)}, sounds from {', '.join(SOUNDS)}"
    )


def _classified(folder: Path, suffixes: Sequence[str], what: str) -> list[tuple[Path, int | None]]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    classes = sorted({path.parent for path in files})
    if classes in ([], [folder]):
        return [(path, None) for path in files]
    if folder in classes:
        raise InputError(
            f"{folder} holds both {what} and folders of {what}, so the classes are not clear",
            hint="put every file into the folder of its class, or all into one folder",
        )
    if empty := _empty(folder, classes):
        raise InputError(
            f"{empty} is empty, so that it is not clear whether it counts as a class: classes are numbered by the "
            f"folders of {what} in the order of their names",
            hint="remove it if the model has no such class, else give a FILE.npz with labels",
        )
    return [(path, classes.index(path.parent)) for path in files]


def _empty(folder: Path, classes: Sequence[Path]) -> Path | None:
    """Return a folder without files beside those of classes, if these lie in `folder` itself."""
    if any(one.parent != folder for one in classes):
        return None
    beside = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    return next((one for one in beside if not any(path.is_file() for path in one.rglob("*"))), None)


def read_texts(path: Path) -> tuple[list[str | list[str]], list[float] | None]:
    """Return texts (or pairs) and their labels, or None without labels. Raises InputError with the invalid line."""
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: byte {error.start}", hint="save it as UTF-8") from error
    if path.suffix.lower() == ".txt":
        return list(lines), None
    texts, labels = [], []
    for number, line in enumerate(lines, 1):
        text, label = _entry(line, f"{path}, line {number}")
        texts.append(text)
        labels.append(label)
    known = [label for label in labels if label is not None]
    if known and len(known) < len(labels):
        raise InputError(f"{path}: {len(known)} of {len(labels)} lines have a label; label all or none")
    return texts, known or None


def _entry(line: str, where: str) -> tuple[str | list[str], float | None]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    text: str | list[str] | None = entry.get("text") if isinstance(entry, dict) else None
    pair = isinstance(text, list) and len(text) == 2 and all(isinstance(part, str) for part in text)
    if text is None or not (isinstance(text, str) or pair):
        raise InputError(
            f'{where} has no "text" that is a string or a pair of strings', hint='{"text": "…", "label": 1}'
        )
    label = entry.get("label")
    if label is not None and (isinstance(label, bool) or not isinstance(label, (int, float))):
        raise InputError(f"{where}: the label is {label!r}, not a number")
    return text, label
