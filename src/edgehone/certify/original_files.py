"""Security of an original's files, before anything is built of them: pickles, damaged files, foreign code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgehone.certify.formats import formats_of
from edgehone.certify.found import Found, Skipped
from edgehone.certify.security import pickles_of
from edgehone.model.inspect import inspect


def scan(model: str | Path) -> Mapping[str, Found]:
    """Return what is found in a model's files, by the name of the check.

    Every file in its folder is looked at, also what the model does not use: it is handed on with it. Raises ModelError
    for what is no model.
    """
    info = inspect(model)
    files = [path for path in sorted(info.folder.rglob("*")) if path.is_file()]
    if not info.path.is_dir():
        files = [info.folder / name for name in info.files]
    return {
        "pickles": _found(info.folder) if info.path.is_dir() else Found(outcome="passed", reason="no folder"),
        "file_formats": formats_of(info.folder, files, known_only=False),
        "remote_code": Found(
            outcome="failed" if info.remote_code else "passed",
            reason="the model needs the code in its folder"
            if info.remote_code
            else "no code is loaded with it",
        ),
    }


def _found(folder: Path) -> Found:
    try:
        return pickles_of(folder)
    except Skipped as error:
        return Found(outcome="skipped", reason=str(error))
