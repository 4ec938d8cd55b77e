"""Read a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.bundle.schema import DECISION, LARGEST, MANIFEST, Manifest, read_manifest
from edgehone.core import typed_json
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.core.files import read_limited
from edgehone.decision.decision import Decision

# The keys of the decision's open tables that reports and summaries print.
_PRINTED: Mapping[str, Mapping[str, Any]] = {
    "device": {"cpu": str | None, "threads": int},
    "model": {"architecture": str, "parameters": int},
    "workload": {"name": str, "prompt_tokens": int, "generated_tokens": int, "batch": int},
}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    path: Path
    manifest: Manifest
    decision: Decision

    @property
    def artifact(self) -> Path:
        """The folder that the backend runs."""
        return self.path / "artifact"

    @property
    def tokenizer(self) -> Path | None:
        """The folder with the original's tokenizer, chat template and sampling; None for most graphs."""
        folder = self.path / "tokenizer"
        return folder if folder.is_dir() else None

    @property
    def canaries(self) -> Path | None:
        """The folder with the canaries of a graph (`worker.canaries.read`), or their pictures; None without them."""
        folder = self.path / "canaries"
        return folder if folder.is_dir() else None

    def drifted(self, versions: Mapping[str, str]) -> list[str]:
        """Return the packages whose installed version differs from the one in the manifest: `name 2 (was 1)`.

        `versions` maps the installed packages of the bundle's backend to their versions.
        """
        proven = self.manifest.versions.get(self.manifest.recipe["backend"], {})
        return [
            f"{name} {version} (was {proven[name]})"
            for name, version in versions.items()
            if proven.get(name, version) != version
        ]


def read(path: str | Path) -> Bundle:
    """Return the bundle in that folder.

    Raises InputError if there is none, or if its manifest or decision is missing, cut, edited or of another schema.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(
            why_absent(folder, f"no such bundle: {folder}"), hint=f"edgehone optimize MODEL --out {folder}"
        )
    manifest = read_manifest(_load(folder / MANIFEST), folder / MANIFEST)
    source = str(folder / DECISION)
    decision = Decision.from_json(_load(folder / DECISION), source)
    for table, keys in _PRINTED.items():
        for key, annotation in keys.items():
            value = getattr(decision, table).get(key)
            typed_json.read_value(annotation, value, f"{table}.{key}", source)
    return Bundle(folder, manifest, decision)


def _load(path: Path) -> Any:
    try:
        return json.loads(read_limited(path, LARGEST).decode("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path.parent} is not a bundle: it has no {path.name}",
            hint=f"edgehone optimize MODEL --out {path.parent}",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"{path} cannot be read: {reason}",
            hint="copy the bundle again, or make it again with its reproduce.sh",
        ) from error
