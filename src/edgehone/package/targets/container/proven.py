"""Compare the answers of an image that proves nothing itself with those that were proven."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgehone.bundle.read import read
from edgehone.package import llama_client
from edgehone.package.document import DOCUMENTS
from edgehone.package.target import Check
from edgehone.package.targets.container.podman import OPTIONS, last_line, run
from edgehone.serve.proof import Proof, comparing

_NAME = "the proven answers"
# The server listens on a socket in a folder of this machine, since not every machine lets a container have a network.
# As root, so that who starts the container may use the socket; whether the image runs as its own user, `checks` tells.
_FOLDER = "/socket"
_AS_ROOT = ("--user", "0:0")


def check_answers(podman: Sequence[str], number: str, folder: Path) -> Check:
    """Start an image of llama-server and ask it for the canaries of the staged package in `folder`."""
    with tempfile.TemporaryDirectory() as place:  # the path of a socket may have 107 bytes
        return _checked(podman, number, folder, Path(place))


def _checked(podman: Sequence[str], number: str, folder: Path, place: Path) -> Check:
    canaries = [one for one in read(folder / DOCUMENTS).manifest.canaries if "picture" not in one]
    container = f"edgehone-{uuid.uuid4().hex[:12]}"
    words = ["run", "-d", "--name", container, *OPTIONS, *_AS_ROOT, "--volume", f"{place}:{_FOLDER}"]
    try:
        started = run([*podman, *words, number, "--host", f"{_FOLDER}/s.sock"])
        if started.returncode:
            return Check(
                _NAME, "failed", f"podman cannot start a container here: {last_line(started.stderr)}"
            )
        if not llama_client.is_ready(place / "s.sock", lambda: _lives(podman, container)):
            return Check(_NAME, "failed", f"the server ended: {_log(podman, container)}")
        proof = _prove(place / "s.sock", canaries)
        if isinstance(proof, str):
            return Check(_NAME, "failed", proof)
        return Check(_NAME, "passed" if proof.holds else "failed", str(proof))
    finally:
        run([*podman, "rm", "--force", "--time", "0", container])


def _prove(address: Path, canaries: Sequence[Mapping[str, Any]]) -> Proof | str:
    """Ask for the canaries one after another, as `edgehone serve` compares them; or return why there is no answer."""
    comparison = comparing([one["answer"] for one in canaries])
    asked = next(comparison)
    while True:
        answers: list[Sequence[int]] = []
        for one in asked:
            canary = canaries[one.canary]
            prompt = [*canary["prompt"], *canary["answer"][: one.after]]
            answer = llama_client.completion(address, prompt, len(canary["answer"]) - one.after)
            if isinstance(answer, str):
                return answer
            answers.append(answer)
        try:
            asked = comparison.send(answers)
        except StopIteration as done:
            found: Proof = done.value
            return found


def _lives(podman: Sequence[str], container: str) -> bool:
    return run([*podman, "inspect", "--format", "{{.State.Running}}", container]).stdout.strip() == "true"


def _log(podman: Sequence[str], container: str) -> str:
    done = run([*podman, "logs", container])
    return last_line(done.stderr or done.stdout)
