"""Versions in the registry, by the verbs of `edgehone registry`: pushed, pulled, and named by aliases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.bundle.read import read
from edgehone.bundle.verify import differences
from edgehone.core.errors import EdgehoneError
from edgehone.execution.home import home
from edgehone.pipeline.result import Result
from edgehone.pipeline.stages.common import now, required
from edgehone.pipeline.work import Work

STAGING, PRODUCTION = "staging", "production"


def _where(work: Work) -> list[str]:
    registry = work.pipeline.registry
    words = []
    if registry.where:
        words += [
            "--registry",
            registry.where if "://" in registry.where else str(work.base / registry.where),
        ]
    if registry.blobs:
        words += ["--blobs", str(work.path(registry.blobs))]
    return words


def registered(work: Work) -> Mapping[str, Any]:
    """Return name, number and digest of this run's version: that of staging, else it is pushed now."""
    if (staged := work.results.get("staging_deployment")) is not None:
        return staged.outputs
    return push(work)


def push(work: Work) -> dict[str, Any]:
    """Push the bundle, and return its name, number, digest and approval. One that is there is not stored again."""
    name = work.pipeline.model.name
    begun = now()
    words = ["registry", "push", str(work.bundle), *(["--name", name] if name else []), *_where(work)]
    facts = required(work, "registry.push", work.verb(*words), begun)
    said = (
        f"{facts['name']}:{facts['number']} {facts['digest']}, {'new' if facts['new'] else 'already there'}"
    )
    work.found("registry.push", "passed", said, begun)
    return {one: facts[one] for one in ("name", "number", "digest", "approval")}


def pulled(work: Work, name: str, number: int) -> Path:
    """Return a folder with a version, which no later run changes, so that a server may serve it."""
    path = work.out / "versions" / str(number) / name.rpartition("/")[2]
    if not _is_whole(path):
        words = ["registry", "pull", f"{name}:{number}", "--out", str(path), *_where(work)]
        begun = now()
        required(work, "registry.pull", work.verb(*words), begun)
    return path


def _is_whole(path: Path) -> bool:
    try:
        return not differences(path, read(path).manifest.files, cache=home() / "digests")
    except EdgehoneError:
        return False


def alias_of(work: Work, name: str, alias: str) -> int | None:
    """Return the number of the version that an alias points to, None if there is none."""
    done = work.verb("registry", "show", f"{name}:{alias}", *_where(work))
    return int(done.facts["number"]) if done.code == 0 else None


def move(work: Work, alias: str, version: Mapping[str, Any], why: str) -> None:
    """Let an alias point to a version. One that is approved on conditions needs the document to accept conditions."""
    words = ["registry", "alias", version["name"], alias, str(version["number"]), "--why", why, *_where(work)]
    if version["approval"] == "conditional" and work.pipeline.testing.conditions == "accept":
        words.append("--force")
        words[words.index("--why") + 1] = f"{why}; its conditions are accepted by the pipeline file"
    begun = now()
    required(work, f"registry.{alias}", work.verb(*words), begun)
    work.found(
        f"registry.{alias}", "passed", f"{version['name']}:{alias} is version {version['number']}", begun
    )


def alias_departed(work: Work, result: Result, alias: str) -> str | None:
    """Return what an alias points to, if it is not the version of a result."""
    number = alias_of(work, result.outputs["name"], alias)
    if number == result.outputs["number"]:
        return None
    return f"{result.outputs['name']}:{alias} is {'gone' if number is None else f'version {number}'}"
