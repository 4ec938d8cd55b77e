"""edgehone.toml: the user's gates, weights, workloads and other settings, by default in the current folder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError

NAME = "edgehone.toml"
TABLES = ("gates", "weights", "workloads", "efforts", "images", "audio", "ctc", "devices", "plan")


def read(path: str | Path | None = None) -> Mapping[str, Any]:
    """Return the parsed file at `path`, or ./edgehone.toml, or {} if that does not exist.

    Raises InputError if the file cannot be read or has an unknown table.
    """
    file = Path(path) if path is not None else Path(NAME)
    try:
        parsed = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if path is None:
            return {}
        problem = why_absent(file, f"no such file: {file}")
        raise InputError(problem, hint=f"create {file}, or leave out --config") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}", hint=f"correct {file}") from error
    for name in parsed:
        if name not in TABLES:
            raise InputError(
                f"{file}: unknown table [{name}]", hint=f"tables: {', '.join(f'[{t}]' for t in TABLES)}"
            )
    return parsed
