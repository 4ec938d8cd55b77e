"""Checks of an image by programs that do not belong to edgehone: skopeo reads it, podman starts it."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgehone.package.target import Check
from edgehone.package.targets.container.base import runs_here
from edgehone.package.targets.container.buildah import store
from edgehone.package.targets.container.layout import NAME, Image, read_image
from edgehone.package.targets.container.program import HOME

_READY_SECONDS = 300.0
_STOP_SECONDS = 5.0  # without requests it takes a tenth of that; the machine may be busy
_START = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
# Neither a network of its own nor a journal, which are not everywhere.
_PLAIN = ["--network", "none", "--log-driver", "k8s-file"]
_SHELLS = ("/bin/sh", "/bin/bash", "/bin/busybox")
_LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]


def check(folder: Path, scratch: Path) -> Sequence[Check]:
    """Check the image in a layout."""
    image = read_image(folder)
    return [_inspected(image), *_started(image, scratch)]


def _inspected(image: Image) -> Check:
    """Compare what skopeo reads with what was written."""
    name = "skopeo inspect"
    if shutil.which("skopeo") is None:
        return Check(name, "skipped", "skopeo is not installed: apt install skopeo")
    done = _run(["skopeo", "inspect", f"oci:{image.folder}:{_name(image)}"])
    if done.returncode:
        return Check(name, "failed", _last(done.stderr))
    told = json.loads(done.stdout)
    wanted = {
        "Digest": image.digest,
        "Architecture": image.config["architecture"],
        "Labels": image.config["config"]["Labels"],
        "Layers": [one["digest"] for one in image.manifest["layers"]],
    }
    if differing := [key for key, value in wanted.items() if told.get(key) != value]:
        return Check(name, "failed", f"it reads another {', '.join(differing)}")
    return Check(name, "passed", f"{image.digest}, {len(image.layers)} layers")


def _started(image: Image, scratch: Path) -> Iterator[Check]:
    """Start the server with a root file system that cannot be written, ask whether it is ready, and stop it."""
    name, arch = "podman run", str(image.config["architecture"])
    if shutil.which("podman") is None:
        yield Check(name, "skipped", "podman is not installed: apt install podman runc")
        return
    if not runs_here(arch):
        yield Check(name, "skipped", f"this machine does not run {arch}")
        return
    podman = ["podman", "--events-backend", "none", "--cgroup-manager", "cgroupfs", *store().options]
    if shutil.which("runc"):
        podman += ["--runtime", "runc"]
    policy = str(Path(__file__).with_name("policy.json"))
    # The path becomes a part of the image's name, where not every character is allowed.
    place = f"oci:{image.folder.name}:{_name(image)}"
    pulled = _run([*podman, "pull", "-q", "--signature-policy", policy, place], image.folder.parent)
    if pulled.returncode:
        yield Check(name, "failed", _last(pulled.stderr))
        return
    found = pulled.stdout.strip().splitlines()[-1]
    try:
        yield from _run_image(podman, found, image)
    finally:
        _run([*podman, "rmi", "--force", found])


def _run_image(podman: list[str], number: str, image: Image) -> Iterator[Check]:
    name = "podman run"
    python = f"/{HOME}/bin/python"
    alone = _run(
        [*podman, "run", "--rm", *_START, *_PLAIN, *_LIMITS, "--entrypoint", python, number, "-I", "-c", ""]
    )
    if alone.returncode:  # nothing of the image but its interpreter ran
        yield Check(name, "skipped", f"podman cannot start a container here: {_last(alone.stderr)}")
        return
    container = f"edgehone-{uuid.uuid4().hex[:12]}"
    begun = time.monotonic()
    started = _run([*podman, "run", "-d", "--name", container, *_START, *_PLAIN, *_LIMITS, number])
    try:
        if started.returncode:
            yield Check(name, "failed", _last(started.stderr))
            return
        if problem := _until_ready(podman, container, begun):
            yield Check(name, "failed", problem)
            return
        yield Check(
            name, "passed", f"ready after {time.monotonic() - begun:.1f} s, read-only, without capabilities"
        )
        yield _shell(podman, container, image)
        yield _stopped(podman, container)
    finally:
        _run([*podman, "rm", "--force", "--time", "0", container])


def _until_ready(podman: list[str], container: str, begun: float) -> str | None:
    """Wait until the server is ready; return what went wrong."""
    ask = [*podman, "exec", container, f"/{HOME}/bin/python", "-I", f"/{HOME}/start.py", "ready"]
    while time.monotonic() - begun < _READY_SECONDS:
        if _run(ask).returncode == 0:
            return None
        state = _run(
            [*podman, "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", container]
        ).stdout
        if not state.startswith("true"):
            log = _run([*podman, "logs", container])
            return f"the server ended with exit code {state.split()[-1:]}: {_last(log.stderr or log.stdout)}"
        time.sleep(0.1)
    log = _run([*podman, "logs", container])
    return f"the server is not ready after {_READY_SECONDS:.0f} s: {_last(log.stdout or log.stderr)}"


def _shell(podman: list[str], container: str, image: Image) -> Check:
    """Look for a shell. A base image that the user named may have one."""
    asked = {one: _run([*podman, "exec", container, one, "-c", ""]).returncode for one in _SHELLS}
    found = [one for one, code in asked.items() if code == 0]
    if not found:
        return Check("no shell", "passed")
    named = "org.opencontainers.image.base.digest" in image.config["config"]["Labels"]
    return Check("no shell", "skipped" if named else "failed", f"{found[0]} runs")


def _stopped(podman: list[str], container: str) -> Check:
    begun = time.monotonic()
    _run([*podman, "kill", "--signal", "TERM", container])
    code = _run([*podman, "wait", "--interval", "20ms", container]).stdout.strip()
    seconds = time.monotonic() - begun
    outcome = f"ended after {seconds:.2f} s with exit code {code}"
    return Check("SIGTERM", "passed" if code == "0" and seconds < _STOP_SECONDS else "failed", outcome)


def _name(image: Image) -> str:
    index = json.loads((image.folder / "index.json").read_text("utf-8"))
    return str(index["manifests"][0]["annotations"][NAME])


def _run(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=folder,
        check=False,
    )


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-400:] if lines else "no reason given"
