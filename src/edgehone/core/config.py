"""edgehone.toml: gates, weights and workloads of the user's own, beside where he works."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError

NAME = "edgehone.toml"
TABLES = ("gates", "weights", "workloads", "efforts", "images", "devices", "plan")


def read(path: str | Path | None = None) -> Mapping[str, Any]:
    """The parsed file: the named one, else ./edgehone.toml, else {}. Raises InputError if it can't be used."""
    place = Path(path) if path is not None else Path(NAME)
    try:
        parsed = tomllib.loads(place.read_text("utf-8"))
    except FileNotFoundError:
        if path is None:
            return {}
        raise InputError(f"no such file: {place}", hint=f"write {place}, or leave --config out") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{place} cannot be read: {error}", hint=f"mend {place}") from error
    for name in parsed:
        if name not in TABLES:
            raise InputError(
                f"{place}: there is no table [{name}]", hint=f"tables: {', '.join(f'[{t}]' for t in TABLES)}"
            )
    return parsed
