"""Checks by programs that do not belong to edgehone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgehone.package.target import Check

_SECONDS: Final = 600.0


def check_program(
    name: str,
    command: Sequence[str | Path],
    package: str,
    judge: Callable[[str], str | None] = lambda output: None,
    text: str = "",
    folder: Path | None = None,
) -> Check:
    """Run a program, whose Debian package is `package`, with `text` as its input, in `folder` (default: here).

    It must succeed, and `judge` return None for its output; else what is wrong with it.
    """
    program = str(command[0])
    if shutil.which(program) is None:
        return Check(name, "skipped", f"{program} is not installed: apt-get install {package}")
    try:
        done = subprocess.run(
            [str(one) for one in command],
            input=text, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS, check=False,
            cwd=folder,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, "failed", str(error))
    output = done.stdout + done.stderr
    if done.returncode != 0:
        return Check(name, "failed", " ".join(output.split())[-300:] or f"exit code {done.returncode}")
    wrong = judge(output)
    return Check(name, "failed", wrong) if wrong else Check(name, "passed")


def check_digests(name: str, digests: Mapping[Path, str]) -> Check:
    """Compare files with their SHA-256 by coreutils' sha256sum."""
    lines = "".join(f"{digest}  {path.absolute()}\n" for path, digest in digests.items())
    return check_program(name, ["sha256sum", "--check", "--strict", "--quiet", "-"], "coreutils", text=lines)
