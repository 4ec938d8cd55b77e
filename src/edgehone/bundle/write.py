"""Write a bundle: stage it next to its final path, then move it there with one rename."""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgehone.bundle.schema import DECISION, MANIFEST, REPORT, Manifest, evidence_folder, text_of
from edgehone.core.errors import InputError, SetupError
from edgehone.decision.decision import Decision
from edgehone.model.digest import digest_folder


@dataclass(frozen=True)
class Evidence:
    """The raw data behind one candidate's figures.

    `samples` is written to samples.json, `arrays` are npz files that are copied compressed, `log` is the end of a
    failed candidate's log.
    """

    key: str
    samples: Mapping[str, Any] = field(default_factory=dict)
    arrays: Sequence[Path] = ()
    log: str | None = None


@dataclass(frozen=True)
class Contents:
    """The contents of a bundle.

    `files` of the manifest are added by `write`. `tokenizer` is a folder with the original's tokenizer, chat template
    and sampling, `canaries` one with those of a graph. `notices` are licence files. `command` is the command line that
    makes the bundle again.
    """

    decision: Decision
    artifact: Path
    manifest: Manifest
    report: str
    command: Sequence[str]
    evidence: Sequence[Evidence] = ()
    tokenizer: Path | None = None
    canaries: Path | None = None
    notices: Sequence[Path] = ()


def check_target(target: Path) -> None:
    """Raise InputError unless a bundle may be written to `target`: a new path, an empty folder, or an older bundle.

    It may be no symbolic link, which would be replaced, and not lie in a bundle, which must stay as it was written.
    """
    if target.is_symlink():
        raise InputError(
            f"{target} is a symbolic link", hint=f"give the folder itself: --out {target.resolve()}"
        )
    if holder := next((one for one in target.absolute().parents if is_bundle(one)), None):
        raise InputError(
            f"{target} is in the bundle {holder}, which must stay as it was written",
            hint="give another --out",
        )
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise InputError(
            f"{target} is a folder with other files in it; a bundle would replace them",
            hint="give another --out",
        )
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} exists and is not a folder", hint="give another --out")
    parent = target.absolute().parent
    nearest = next(folder for folder in (parent, *parent.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{nearest} cannot be written to", hint="give another --out")


def is_bundle(folder: Path) -> bool:
    """Return whether a folder has the two files that every bundle has."""
    return (folder / MANIFEST).is_file() and (folder / DECISION).is_file()


def write(target: Path, contents: Contents) -> None:
    """Write a bundle to `target`, replacing an older one, which stays until the new bundle is complete.

    Raises SetupError when the disk is full or the target cannot be written to.
    """
    target = target.absolute()
    staged = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        _fill(staged, contents)
        replace_bundle(staged, target)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"no space left on the disk of {target.parent} for the bundle",
                hint="free some space and run the same command again: finished jobs are kept",
            ) from error
        raise SetupError(
            f"the bundle cannot be written to {target}: {error.strerror or error}", hint="give another --out"
        ) from error


def _fill(folder: Path, contents: Contents) -> None:
    shutil.copytree(contents.artifact, folder / "artifact")
    if contents.tokenizer:
        shutil.copytree(contents.tokenizer, folder / "tokenizer")
    if contents.canaries:
        shutil.copytree(contents.canaries, folder / "canaries")
    _write_json(folder / DECISION, contents.decision.to_json())
    for evidence in contents.evidence:
        _write_evidence(evidence_folder(folder, evidence.key), evidence)
    for notice in contents.notices:
        (folder / "notices").mkdir(exist_ok=True)
        shutil.copyfile(notice, folder / "notices" / notice.name)
    script = folder / "reproduce.sh"
    script.write_text(_script(contents.decision, contents.command), "utf-8")
    script.chmod(0o755)
    (folder / REPORT).write_text(contents.report, "utf-8")
    _remove_empty_folders(folder)
    manifest = replace(contents.manifest, files=digest_folder(folder))
    _write_json(folder / MANIFEST, manifest.to_json())


def _remove_empty_folders(folder: Path) -> None:
    """Remove folders without files, which neither digests nor archives tell of."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _write_evidence(folder: Path, evidence: Evidence) -> None:
    import numpy as np

    if evidence.log or evidence.samples or evidence.arrays:
        folder.mkdir(parents=True, exist_ok=True)
    if evidence.log:
        (folder / "log.txt").write_text(evidence.log, "utf-8")
    if evidence.samples:
        _write_json(folder / "samples.json", evidence.samples)
    for path in evidence.arrays:
        with np.load(path) as arrays, (folder / path.name).open("wb") as file:
            np.savez_compressed(file, **{name: arrays[name] for name in arrays.files})


def _script(decision: Decision, command: Sequence[str]) -> str:
    chosen = decision.candidate(decision.bundled or "")
    pinned = ", ".join(f"{n} {v}" for n, v in sorted(decision.versions.get(chosen.backend, {}).items()))
    return f"""#!/bin/sh
# Makes this bundle again: edgehone {decision.edgehone}; {chosen.backend} with {pinned or "no packages of its own"}.
# Model digest {decision.model["digest"]}.
set -eu
exec {" ".join(shlex.quote(part) for part in command)} "$@"
"""


def copy_bundle(source: Path, target: Path, *, without: Collection[str] = ()) -> None:
    """Copy a bundle, but for the entries named in `without`.

    Its files are no hard links: if this process is killed both copies stay, and `attestation.verify` refuses files that
    have two names.
    """

    def ignored(folder: str, names: list[str]) -> set[str]:
        return set(names) & set(without) if Path(folder) == source else set()

    shutil.copytree(source, target, ignore=ignored)


def replace_bundle(staged: Path, target: Path) -> None:
    """Move a complete bundle to `target`, in the place of an older one."""
    if target.exists() and _exchange(staged, target):
        shutil.rmtree(staged, ignore_errors=True)
        return
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    staged.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change names in one step, so that neither name is missing at any time.

    Returns False where the system cannot: renameat2 is Linux's, with the flag RENAME_EXCHANGE (2).
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here = -100  # AT_FDCWD: relative paths are those of the process
    return rename is not None and rename(here, os.fsencode(first), here, os.fsencode(second), 2) == 0


def _write_json(path: Path, data: Any) -> None:
    path.write_text(text_of(data), "utf-8")
