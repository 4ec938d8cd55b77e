"""Checks of an image by programs that do not belong to edgehone: skopeo reads it, podman starts it."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgehone.package.target import Check
from edgehone.package.targets.container.base import runs_here
from edgehone.package.targets.container.layout import NAME, Image, read_image
from edgehone.package.targets.container.podman import OPTIONS, command, last_line, run
from edgehone.package.targets.container.proven import check_answers
from edgehone.package.targets.container.server import LABEL, Server
from edgehone.package.targets.container.servers import SERVERS

_READY_SECONDS = 300.0
# Without requests it takes half a second; the machine may be busy. Docker and podman kill a container after 10 s.
_STOP_SECONDS = 10.0
_SHELLS = ("/bin/sh", "/bin/bash", "/bin/busybox")


def check(folder: Path) -> Sequence[Check]:
    """Check the image of a package. One whose server does not prove itself at each start must answer as was proven."""
    image = read_image(folder / "image")
    return [_inspected(image), *_started(image, folder)]


def _inspected(image: Image) -> Check:
    """Compare what skopeo reads with what was written."""
    name = "skopeo inspect"
    if shutil.which("skopeo") is None:
        return Check(name, "skipped", "skopeo is not installed: apt install skopeo")
    done = run(["skopeo", "inspect", f"oci:{image.folder}:{_name(image)}"])
    if done.returncode:
        return Check(name, "failed", last_line(done.stderr))
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


def _started(image: Image, folder: Path) -> Iterator[Check]:
    """Start the server with a root file system that cannot be written, ask whether it is ready, and stop it."""
    name, arch = "podman run", str(image.config["architecture"])
    if shutil.which("podman") is None:
        yield Check(name, "skipped", "podman is not installed: apt install podman runc")
        return
    if not runs_here(arch):
        yield Check(name, "skipped", f"this machine does not run {arch}")
        return
    podman = command()
    policy = str(Path(__file__).with_name("policy.json"))
    # The path becomes a part of the image's name, where not every character is allowed.
    place = f"oci:{image.folder.name}:{_name(image)}"
    pulled = run([*podman, "pull", "-q", "--signature-policy", policy, place], image.folder.parent)
    if pulled.returncode:
        yield Check(name, "failed", last_line(pulled.stderr))
        return
    found = pulled.stdout.strip().splitlines()[-1]
    server = SERVERS[image.config["config"]["Labels"][LABEL]]
    try:
        yield from _run_image(podman, found, image, server)
        if not server.PROVES_ITSELF:
            yield check_answers(podman, found, folder)
    finally:
        run([*podman, "rmi", "--force", found])


def _run_image(podman: list[str], number: str, image: Image, server: Server) -> Iterator[Check]:
    name = "podman run"
    program, *words = server.ALONE
    begin = [*podman, "run", "--rm", *OPTIONS]
    alone = run([*begin, "--entrypoint", program, number, *words])
    if alone.returncode and server.PROVES_ITSELF:  # nothing of the image but its interpreter ran
        yield Check(name, "skipped", f"podman cannot start a container here: {last_line(alone.stderr)}")
        return
    container = f"edgehone-{uuid.uuid4().hex[:12]}"
    begun = time.monotonic()
    started = run([*podman, "run", "-d", "--name", container, *OPTIONS, number])
    try:
        if started.returncode:
            yield Check(name, "failed", last_line(started.stderr))
            return
        if problem := _until_ready(podman, container, server.READY, begun):
            yield Check(name, "failed", problem)
            return
        yield Check(
            name, "passed", f"ready after {time.monotonic() - begun:.1f} s, read-only, without capabilities"
        )
        yield _shell(podman, container, image)
        yield _stopped(podman, container)
    finally:
        run([*podman, "rm", "--force", "--time", "0", container])


def _until_ready(podman: list[str], container: str, ready: Sequence[str], begun: float) -> str | None:
    """Wait until the server is ready; return what went wrong."""
    ask = [*podman, "exec", container, *ready]
    while time.monotonic() - begun < _READY_SECONDS:
        if run(ask).returncode == 0:
            return None
        state = run(
            [*podman, "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", container]
        ).stdout
        if not state.startswith("true"):
            log = run([*podman, "logs", container])
            return (
                f"the server ended with exit code {state.split()[-1:]}: {last_line(log.stderr or log.stdout)}"
            )
        time.sleep(0.1)
    log = run([*podman, "logs", container])
    return f"the server is not ready after {_READY_SECONDS:.0f} s: {last_line(log.stdout or log.stderr)}"


def _shell(podman: list[str], container: str, image: Image) -> Check:
    """Look for a shell. A base image that the user named may have one."""
    asked = {one: run([*podman, "exec", container, one, "-c", ""]).returncode for one in _SHELLS}
    found = [one for one, code in asked.items() if code == 0]
    if not found:
        return Check("no shell", "passed")
    named = "org.opencontainers.image.base.digest" in image.config["config"]["Labels"]
    return Check("no shell", "skipped" if named else "failed", f"{found[0]} runs")


def _stopped(podman: list[str], container: str) -> Check:
    begun = time.monotonic()
    run([*podman, "kill", "--signal", "TERM", container])
    code = run([*podman, "wait", "--interval", "20ms", container]).stdout.strip()
    seconds = time.monotonic() - begun
    outcome = f"ended after {seconds:.2f} s with exit code {code}"
    return Check("SIGTERM", "passed" if code == "0" and seconds < _STOP_SECONDS else "failed", outcome)


def _name(image: Image) -> str:
    index = json.loads((image.folder / "index.json").read_text("utf-8"))
    return str(index["manifests"][0]["annotations"][NAME])
