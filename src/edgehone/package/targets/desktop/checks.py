"""Let the programs that are installed load the artifact, and compare what they generate with the bundle's canaries.

llama-server and openvino_genai are looked for on the path and among edgehone's own toolchains and environments. They
run without any code of edgehone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgehone.backends.base import Needs
from edgehone.backends.llamacpp import backend as llamacpp
from edgehone.backends.openvino import backend as openvino
from edgehone.backends.pytorch import backend as pytorch
from edgehone.core.errors import EdgehoneError
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.package.document import DOCUMENTS
from edgehone.package.target import Built, Check
from edgehone.package.targets.desktop.asked_server import completion

_SECONDS = 300
_INSTALL = "edgehone backends install "


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Return the outcomes of the programs that load what was built."""
    found = list[Check]()
    for one in built.deliverables:
        place = folder / one.path
        if (place / "start.sh").is_file():
            found.append(_llama_server(folder, place, scratch))
        if (place / "generate.py").is_file():
            found.append(_openvino_genai(folder, place, scratch))
        if (place / "README.md").is_file():
            found.append(_model_card(place, scratch))
        if place.suffix == ".llamafile":
            found.append(_unzip(place))
    return found


def _canary(folder: Path) -> tuple[list[int], list[int]] | None:
    """Return the prompt and the answer of the first canary of the bundle, as ids."""
    manifest = json.loads((folder / DOCUMENTS / "manifest.json").read_text("utf-8"))
    texts = [one for one in manifest["canaries"] if "prompt" in one and "picture" not in one]
    return (list(texts[0]["prompt"]), list(texts[0]["answer"])) if texts else None


def _env(name: str, needs: Needs) -> Env | None:
    try:
        return environment.installed(name, needs)
    except EdgehoneError:
        return None  # an override that cannot be used: nothing is at hand then


def _llama_server(folder: Path, place: Path, scratch: Path) -> Check:
    name = "llama-server generates a canary with start.sh"
    program = shutil.which("llama-server") or own_server()
    canary = _canary(folder)
    if program is None:
        return Check(name, "skipped", f"llama-server is not installed: {_INSTALL}llamacpp")
    if canary is None:
        return Check(name, "skipped", "the bundle has no canary of text")
    answer = completion(place / "start.sh", program, canary, scratch)
    return _compared(name, answer, canary[1])


def own_server() -> str | None:
    """Return the llama-server among edgehone's toolchains, None if it was not built."""
    env = _env(llamacpp.NAME, llamacpp.NEEDS)
    program = env.toolchain / "bin" / "llama-server" if env and env.toolchain else None
    return str(program) if program and program.is_file() else None


def _compared(name: str, answer: list[int] | str, expected: list[int]) -> Check:
    if isinstance(answer, str):
        return Check(name, "failed", answer)
    same = answer == expected
    return Check(name, "passed" if same else "failed", "" if same else f"it gave {answer}, not {expected}")


def _openvino_genai(folder: Path, place: Path, scratch: Path) -> Check:
    name = "openvino_genai generates a canary"
    env, canary = _env(openvino.NAME, openvino.NEEDS), _canary(folder)
    if env is None:
        return Check(name, "skipped", f"openvino_genai is not installed: {_INSTALL}openvino")
    if canary is None:
        return Check(name, "skipped", "the bundle has no canary of text")
    script = Path(__file__).with_name("ask_openvino.py")
    asked = json.dumps({"folder": str(place), "prompt": canary[0], "count": len(canary[1])})
    done = _run([str(env.python), "-I", str(script)], scratch, asked)
    if done.returncode:
        return Check(name, "failed", (done.stderr.strip().splitlines() or ["it ended with an error"])[-1])
    return _compared(name, json.loads(done.stdout.strip().splitlines()[-1]), canary[1])


def _model_card(place: Path, scratch: Path) -> Check:
    name = "huggingface_hub reads the model card"
    envs = (_env(one.NAME, one.NEEDS) for one in (pytorch, openvino, llamacpp))
    env = next((one for one in envs if one), None)
    if env is None:
        return Check(name, "skipped", f"huggingface_hub is not installed: {_INSTALL}pytorch")
    script = Path(__file__).with_name("ask_model_card.py")
    done = _run([str(env.python), "-I", str(script), str(place / "README.md")], scratch)
    reason = (done.stderr.strip().splitlines() or [""])[-1]
    return Check(name, "failed" if done.returncode else "passed", reason if done.returncode else "")


def _unzip(path: Path) -> Check:
    name = "unzip tests the llamafile"
    if shutil.which("unzip") is None:
        return Check(name, "skipped", "unzip is not installed: apt install unzip")
    done = subprocess.run(["unzip", "-tqq", str(path)], capture_output=True, text=True, check=False)
    # 1: the archive is whole, but begins with something else: the program.
    good = done.returncode in (0, 1)
    return Check(name, "passed" if good else "failed", "" if good else done.stdout.strip()[-200:])


def _run(words: Sequence[str], scratch: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, input=given, capture_output=True, text=True, check=False, timeout=_SECONDS, cwd=scratch
    )
