"""Security of the bundle's files: pickles, the chat template's sandbox, and who may change them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from edgehone.certify.found import Found, Skipped, counted
from edgehone.certify.profile import Rule
from edgehone.certify.subject import Subject
from edgehone.core.errors import JobError
from edgehone.inference.run_bundle import has_template
from edgehone.worker.conversation import TURNS

_PICKLED = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill"}
# `python -m picklescan` ends with 0 whatever it finds; its function returns 1 for what is dangerous, 2 if it cannot
# scan. Of a file that is cut it only says so.
_SCAN = "import sys; from picklescan.cli import main; sys.exit(main())"
# The only file of a bundle that is meant to be executed.
_EXECUTABLE = "reproduce.sh"


def pickles(subject: Subject, rule: Rule) -> Found:
    """Count the pickled files that picklescan finds dangerous or cannot scan."""
    return pickles_of(subject.bundle.path)


def pickles_of(root: Path) -> Found:
    """Count those of a folder. Raises Skipped if there are some and picklescan is not installed."""
    found = [path for path in sorted(root.rglob("*")) if path.is_file() and is_pickled(path)]
    if not found:
        return counted([], "no file is pickled")
    if find_spec("picklescan") is None:
        raise Skipped(
            f'{len(found)} files are pickled; picklescan is missing: pip install "edgehone[certify]"'
        )
    problems, said = [], {}
    for path in found:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _SCAN, "--path", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        name = path.relative_to(root).as_posix()
        said[name] = {"exit": done.returncode, "said": (done.stdout + done.stderr)[-2000:]}
        if done.returncode == 1:
            problems.append(f"{name}: picklescan finds what executes code")
        elif done.returncode or "could not parse" in done.stdout + done.stderr:
            problems.append(f"{name}: picklescan cannot scan it (exit code {done.returncode})")
    return counted(
        problems, f"picklescan finds nothing in {len(found)} files", {"scanned": said}, n=len(found)
    )


def is_pickled(path: Path) -> bool:
    """Return whether a file is a pickle, by its name or content, or an archive that contains one."""
    if path.suffix in _PICKLED:
        return True
    with path.open("rb") as file:
        head = file.read(2)
    if head[:1] == b"\x80" and head[1:] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if head == b"PK" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
    return False


def template_sandbox(subject: Subject, rule: Rule) -> Found:
    """Count what the chat template tries beyond writing a prompt."""
    if not has_template(subject.bundle):
        return counted([], "the model has no chat template")
    call = "edgehone.worker.sandbox:inspect"
    job = subject.job(call, {"turns": TURNS}, subject.tokenizer)
    try:
        facts = subject.tried(job)
    except JobError as error:
        return counted([f"the template ends its process: {error.message}"], "")
    told = f"{facts['nodes']} nodes of the template stay within its sandbox"
    return counted(facts["problems"], told, facts, n=facts["nodes"])


def permissions(subject: Subject, rule: Rule) -> Found:
    """Count the files that others can change, that run with another user's rights, and what is no file."""
    root, problems, count = subject.bundle.path, list[str](), 0
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder) / name
            mode, shown = path.lstat().st_mode, path.relative_to(root).as_posix()
            count += 1
            if stat.S_ISLNK(mode):
                problems.append(f"{shown} is a link to {path.readlink()}")
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                problems.append(f"{shown} is neither file nor folder")
            if mode & stat.S_IWOTH:
                problems.append(f"{shown} can be changed by every user ({stat.filemode(mode)})")
            if mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(mode):
                problems.append(f"{shown} runs with the rights of its owner ({stat.filemode(mode)})")
            if stat.S_ISREG(mode) and mode & 0o111 and shown != _EXECUTABLE:
                problems.append(f"{shown} is executable ({stat.filemode(mode)})")
    if root.stat().st_mode & stat.S_IWOTH:
        problems.append("every user can add files to the bundle")
    return counted(
        problems, f"{count} files and folders can be changed by their owner or group only", n=count
    )
