"""Read a bundle, and verify that its files are the ones that were written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.decision.decision import Decision
from edgehone.model.digest import digest_folder

MANIFEST = "manifest.json"
SCHEMA = 1
# What is read of a manifest, and its type.
_PARTS = {"recipe": dict, "files": dict, "eos": list, "model": dict, "versions": dict, "created": str}

# What people are told of the decision's open tables.
_TOLD: Mapping[str, Mapping[str, Any]] = {
    "device": {"cpu": str | None, "threads": int},
    "model": {"architecture": str, "parameters": int},
    "workload": {"name": str, "prompt_tokens": int, "generated_tokens": int, "batch": int},
}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    path: Path
    manifest: Mapping[str, Any]
    decision: Decision

    @property
    def artifact(self) -> Path:
        """The folder that the backend runs."""
        return self.path / "artifact"

    def drifted(self, versions: Mapping[str, str]) -> list[str]:
        """The packages of its backend that are here in another version than it was proven with: `name 2 (was 1)`."""
        proven = self.manifest["versions"].get(self.manifest["recipe"]["backend"], {})
        return [
            f"{name} {here} (was {proven[name]})"
            for name, here in versions.items()
            if proven.get(name, here) != here
        ]


def read(path: str | Path) -> Bundle:
    """The bundle in that folder. Raises InputError if it is none, cut, edited or of another schema."""
    place = Path(path)
    if not place.is_dir():
        raise InputError(f"no such bundle: {place}", hint=f"edgehone optimize MODEL --out {place}")
    manifest = _load(place / MANIFEST, place)
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise InputError(
            f"{place / MANIFEST} has schema {found!r}; this edgehone reads {SCHEMA}",
            hint="make the bundle again with this edgehone, or use the edgehone that made it",
        )
    wrong = [name for name, kind in _PARTS.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise InputError(
            f"{place / MANIFEST} has no {', '.join(wrong)}, or not as a manifest has them",
            hint=f"sh {place / 'reproduce.sh'}",
        )
    decision = Decision.from_json(_load(place / "decision.json", place))
    for table, keys in _TOLD.items():
        for key, kind in keys.items():
            value = getattr(decision, table).get(key)
            if not isinstance(value, kind):
                raise InputError(
                    f"{place / 'decision.json'}: {table}.{key} is {value!r}",
                    hint=f"sh {place / 'reproduce.sh'}",
                )
    return Bundle(place, manifest, decision)


def evidence_of(place: Path, key: str) -> Path:
    """The folder of a candidate's raw samples in the bundle at `place`."""
    return place / "evidence" / key.replace("/", "__")


def verify(bundle: Bundle) -> list[str]:
    """What differs from the manifest: a file missing, changed or added. Empty where nothing does."""
    return differences(bundle.path, bundle.manifest["files"])


def differences(place: Path, listed: Mapping[str, Any]) -> list[str]:
    """What differs between the files at `place` and those `listed` with their digests."""
    found = digest_folder(place)
    found.pop(MANIFEST, None)
    problems = [f"{name} is missing" for name in listed if name not in found]
    problems += [f"{name} was changed" for name in listed if name in found and found[name] != listed[name]]
    return problems + [f"{name} was added" for name in found if name not in listed]


def _load(path: Path, place: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{place} is not a bundle: it has no {path.name}", hint=f"edgehone optimize MODEL --out {place}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}",
            hint="copy the bundle again, or make it again by its reproduce.sh",
        ) from error
