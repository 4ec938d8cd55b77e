"""Run a packaged graph with a build of ONNX Runtime that edgehone did not use to prove it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgehone.package.target import Check
from edgehone.package.targets.onnxruntime.web_runtime import FILES

_NAME = "onnxruntime-web in Node.js gives the proven outputs"
_SECONDS = 300


def run(folder: Path) -> Sequence[Check]:
    """Return the outcome for a folder that the target built; none for a language model."""
    if not (folder / "web").is_dir():
        return ()
    module = folder / "web" / "ort" / FILES[0]
    if not module.is_file():
        return (Check(_NAME, "skipped", "the package is without onnxruntime-web (--set ort_web=npm)"),)
    node = shutil.which("node")
    if node is None:
        return (Check(_NAME, "skipped", "node is not installed (apt install nodejs)"),)
    command = [node, "javascript/node.mjs", "ort/model.ort", str(module.absolute())]
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
        return (Check(_NAME, "failed", f"it did not end within {_SECONDS} s"),)
    said = (done.stdout + done.stderr).strip()
    return (Check(_NAME, "failed" if done.returncode else "passed", said[-500:] if done.returncode else ""),)
