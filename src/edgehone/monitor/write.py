"""Write generated files into a folder, and never over what somebody else wrote or changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgehone.bundle.write import replace_bundle
from edgehone.core.errors import InputError, SetupError

# The digests of the files that were generated, by which later changes are noticed.
DIGESTS = ".edgehone-monitor.json"


def write(out: Path, contents: Mapping[str, str]) -> None:
    """Write files by name into a folder, all or none. A folder that was generated before is replaced.

    Raises InputError for a folder with files that were not generated or were changed, SetupError if the disk is full.
    """
    _check(out)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
    except OSError as error:
        raise _failed(out, error) from error
    try:
        _fill(staged, contents)
        replace_bundle(staged, out)
    except OSError as error:
        raise _failed(out, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _fill(folder: Path, contents: Mapping[str, str]) -> None:
    digests = {name: _digest(text.encode()) for name, text in contents.items()}
    for name, text in {**contents, DIGESTS: json.dumps(digests, indent=1) + "\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    folder.chmod(0o755)


def _check(out: Path) -> None:
    """Raise InputError unless `out` is free, empty, or holds exactly what was generated."""
    hint = "give another folder: --out DIR"
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is no folder", hint=hint)
    if not out.exists() or not any(out.iterdir()):
        return
    digests = _digests(out)
    for file in sorted(path for path in out.rglob("*") if path.is_symlink() or not path.is_dir()):
        name = file.relative_to(out).as_posix()
        if name == DIGESTS:
            continue
        if name not in digests:
            raise InputError(f"{out} has a file that was not generated: {name}", hint=hint)
        if file.is_symlink() or _digest(file.read_bytes()) != digests[name]:
            raise InputError(
                f"{file} was changed since it was generated", hint=f"keep it elsewhere, or {hint}"
            )


def _digests(out: Path) -> Mapping[str, str]:
    try:
        found = json.loads((out / DIGESTS).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _failed(out: Path, error: OSError) -> SetupError:
    return SetupError(
        f"the files cannot be written to {out}: {error.strerror or error}",
        hint="free some space, or give another folder: --out DIR",
    )
