"""A target of the tests: archives in archives, made of any bundle, with options by which a test lets it fail."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgehone.bundle.read import Bundle
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool

NAME: Final = "boxed"
SUMMARY: Final = "a ZIP and a TAR archive, for tests of the frame"
TOOLS: Sequence[Tool] = ()
OPTIONS: Sequence[Option] = (
    Option("name", "name of the archives", "box"),
    Option("colour", "colour of the box", "red", ("red", "green")),
    Option("fault", "what goes wrong"),
)
BUDGET: int | None = None


def refuses(bundle: Bundle) -> str | None:
    """Return that any bundle is accepted."""
    return None


def build(request: Request, folder: Path) -> Built:
    """Write `NAME.zip` with the artifact, and `NAME.tar` with the same in a layer."""
    name, fault = request.options["name"], request.options.get("fault")
    files = sorted(path for path in request.bundle.artifact.rglob("*") if path.is_file())
    names = {path.relative_to(request.bundle.path).as_posix(): path.read_bytes() for path in files}
    if fault == "slow":
        request.tell("building slowly")
        time.sleep(3600)
    if fault == "killed":
        (folder / "half").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "bundle changes":
        files[0].write_bytes(b"another")
        names = {**names, next(iter(names)): b"another"}
    if fault == "converted":
        names = {one: content + b"!" for one, content in names.items()}
    if fault == "link":
        (folder / "link").symlink_to("/etc/passwd")
    if fault == "large":
        (folder / "large").write_bytes(bytes(32 << 20))
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for one, content in names.items():
            archive.writestr(zipfile.ZipInfo(one), content)
            if fault == "two entries":
                archive.writestr(zipfile.ZipInfo(one), content)
    inner = _tar(names)
    (folder / f"{name}.tar").write_bytes(_tar({"layer.tar": inner}))
    carried = tuple(Carried(one, f"{name}.{at}{one}") for one in names for at in ("zip!", "tar!layer.tar!"))
    deliverables = tuple(Deliverable(f"{name}.{kind}", f"a {kind} archive") for kind in ("zip", "tar"))
    return Built(
        deliverables, carried, "# A box\n\n    unzip box.zip\n", (f"The box is {request.options['colour']}.",)
    )


def _tar(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return memory.getvalue()


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Let unzip's counterpart in Python test the archive, unless the test asks for a failure."""
    if (folder / "fails.zip").exists():
        return (Check("lid", "failed", "it does not close"),)
    with zipfile.ZipFile(folder / built.deliverables[0].path) as archive:
        return (
            Check("zip", "passed" if archive.testzip() is None else "failed"),
            Check("lid", "skipped", "no lid"),
        )
