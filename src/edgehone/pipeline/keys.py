"""The key of a stage: a digest of the files that it reads, its settings, what it takes over, and edgehone's code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.execution.home import home
from edgehone.execution.source_digest import whole_digest
from edgehone.model.digest import combined, digest_file, digest_folder
from edgehone.pipeline.result import Result
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.work import Work


def key_of(stage: Stage, work: Work, before: Result | None) -> str:
    """Return 64 hex digits. `before` is the result of the stage that this one needs."""
    content = {
        "stage": stage.name,
        "code": whole_digest("edgehone"),
        "settings": stage.settings(work.pipeline),
        "inputs": stage.inputs(work),
        "before": None if before is None else [before.key, before.outputs],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def digests(paths: Mapping[str, Path | None]) -> dict[str, str]:
    """Return the digests of files and folders that are given. Raises InputError for one that does not exist."""
    found = {}
    for name, path in paths.items():
        if path is None:
            continue
        if not path.exists():
            raise InputError(
                f"{name}: {why_absent(path, f'there is no {path}')}", hint="edgehone pipeline check FILE"
            )
        cache = home() / "digests"
        found[name] = combined(digest_folder(path, cache)) if path.is_dir() else digest_file(path, cache)
    return found
