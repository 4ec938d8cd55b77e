"""onnxruntime-web, which runs the model in a browser: from a folder of the user's, or from npm into EDGEHONE_HOME."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgehone.core.errors import InputError, SetupError
from edgehone.execution.home import file_lock, home

VERSION: Final = "1.30.0"
# The digest that the npm registry states for the package of this version.
INTEGRITY: Final = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# What a page without WebGPU needs: the interface and the processor's kernels in WebAssembly.
FILES: Final = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
NPM: Final = "npm"
_SECONDS = 600


def find(given: str, tell: Callable[[str], None]) -> Path:
    """Return the folder with FILES: that of npm's package, or a folder of the user's (the package or its dist/).

    Raises InputError for a folder of another version or without the files; SetupError if npm cannot get the package.
    """
    if given == NPM:
        return _from_npm(tell)
    package = Path(given).expanduser()
    dist = package if (package / FILES[0]).is_file() else package / "dist"
    hint = f"npm pack onnxruntime-web@{VERSION}, or --set ort_web=npm"
    if missing := [name for name in FILES if not (dist / name).is_file()]:
        raise InputError(f"ort_web is {given}, which has no {', '.join(missing)}", hint=hint)
    try:
        version = json.loads((dist.parent / "package.json").read_text("utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{dist.parent / 'package.json'} does not tell a version: {error}", hint=hint
        ) from error
    if version != VERSION:
        raise InputError(f"{dist.parent} is onnxruntime-web {version}; {VERSION} is expected", hint=hint)
    return dist


def _from_npm(tell: Callable[[str], None]) -> Path:
    folder = home() / "npm" / f"onnxruntime-web-{VERSION}"
    with file_lock(home() / "locks" / "npm.lock"):
        if not folder.is_dir():
            tell(f"getting onnxruntime-web {VERSION} from npm, once, into {folder}")
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as partial:
                filled = Path(partial) / "package"
                _unpack(_packed(Path(partial)), filled)
                filled.rename(folder)
    return folder / "dist"


def _packed(folder: Path) -> bytes:
    """Return the package as npm packs it. Raises SetupError if that fails or its digest is another."""
    again = f"install npm (apt install npm) and a network, or name a folder: --set ort_web=DIR with {VERSION}"
    if shutil.which(NPM) is None:
        raise SetupError("npm, which gets onnxruntime-web, is not installed", hint=again)
    command = [
        NPM,
        "pack",
        f"onnxruntime-web@{VERSION}",
        "--ignore-scripts",
        "--silent",
        f"--pack-destination={folder}",
    ]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"npm did not get onnxruntime-web within {_SECONDS} s", hint=again) from None
    made = sorted(folder.glob("*.tgz"))
    if done.returncode or len(made) != 1:
        raise SetupError(
            f"npm cannot get onnxruntime-web {VERSION}: {done.stderr.strip()[-300:]}", hint=again
        )
    data = made[0].read_bytes()
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != INTEGRITY:
        raise SetupError(
            f"npm's onnxruntime-web {VERSION} has another digest than the pinned one", hint=again
        )
    return data


def _unpack(packed: bytes, folder: Path) -> None:
    """Write FILES and package.json, which states the version and the licence."""
    (folder / "dist").mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for name in ("package.json", *(f"dist/{one}" for one in FILES)):
            member = archive.extractfile(f"package/{name}")
            assert member is not None
            (folder / name).write_bytes(member.read())
