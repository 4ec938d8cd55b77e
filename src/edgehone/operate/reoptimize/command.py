"""The command line by which a champion was made, with the parts of the kept requests in the place of its texts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from edgehone.core.errors import InputError

# Options with a value that are left out: they are about the texts, the folder and the time of the earlier run.
_OTHER = ("--eval", "--calibrate", "--task", "--out", "--when-busy", "--workers")
_SCRIPT = "reproduce.sh"


def optimize_words(
    bundle: Path, evaluation: Path, calibration: Path, out: Path, model: Path | None = None
) -> list[str]:
    """Return the words of `edgehone optimize`: the champion's model, workload, gates and aims.

    Speed is measured as it is while the server answers others (`--when-busy measure`). Raises InputError if the bundle
    does not say how it was made.
    """
    words = _made_by(bundle)
    kept, at = [], 3  # after: edgehone optimize MODEL
    while at < len(words):
        if words[at] in _OTHER:
            at += 2
            continue
        kept.append(words[at])
        at += 1
    source = str(model) if model else words[2]
    texts = ["--eval", str(evaluation), "--calibrate", str(calibration)]
    return ["optimize", source, *kept, *texts, "--when-busy", "measure", "--out", str(out)]


def _made_by(bundle: Path) -> Sequence[str]:
    path = bundle / _SCRIPT
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="give a bundle of edgehone optimize"
        ) from error
    for line in reversed(lines):
        words = shlex.split(line) if line.startswith("exec ") else []
        if words[1:3] == ["edgehone", "optimize"] and len(words) > 4:
            return [one for one in words[1:] if one != "$@"]
    raise InputError(f"{path} does not run edgehone optimize", hint="give a bundle of edgehone optimize")
