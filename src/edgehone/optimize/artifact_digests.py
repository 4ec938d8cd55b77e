"""Digests of an artifact's files, taken when it was built: the files that are bundled are those that were scored.

Results of jobs are looked up by key. A file in the store that was damaged or exchanged after its artifact was scored
would else be bundled with the verdict of another.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.home import home
from edgehone.execution.store import JobResult
from edgehone.model.digest import digest_file

# Beside the job's result. A job that runs again replaces its folder, and with it this file.
FILE = "digests.json"


def record(artifact: JobResult) -> None:
    """Write the digests of an artifact that has none yet."""
    path = artifact.folder / FILE
    if path.exists():
        return
    text = json.dumps(_digests(artifact.out), indent=1)
    part = path.with_name(f"{FILE}.{os.getpid()}")
    part.write_text(text, "utf-8")
    part.replace(path)


def check(artifact: JobResult) -> None:
    """Raise SetupError if a file is missing, was added, or has another content than when it was recorded."""
    stated = json.loads((artifact.folder / FILE).read_text("utf-8"))
    found = _digests(artifact.out)
    changed = sorted(name for name in {*stated, *found} if stated.get(name) != found.get(name))
    if changed:
        raise SetupError(
            f"{artifact.out / changed[0]} is not what was built and scored: it was damaged or exchanged since",
            hint=f"remove it, and repeat the command, which builds it again: rm -r {artifact.folder}",
        )


def _digests(out: Path) -> dict[str, str]:
    """Return the SHA-256 of the files by relative name, without links to the original's, which has its own digest."""
    store = (home() / "store").resolve()
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {
        path.relative_to(out).as_posix(): digest_file(path)
        for path in files
        if path.resolve().is_relative_to(store)
    }
