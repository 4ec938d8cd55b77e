"""Containers that podman starts with tight limits, and base images that are not what is needed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from edgehone.package.targets.container import debian, target
from edgehone.package.targets.container.buildah import Store, store
from tests.ports import free_port
from tests.registry.servers import program

PYTHON = "/opt/edgehone/bin/python"
LIMITS = (
    "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--user", "65532",
    "--memory", "256m", "--pids-limit", "256", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
    "--log-driver", "k8s-file",
)  # fmt: skip
PATIENCE = 180.0


@dataclass(frozen=True)
class Container:
    """A running container: how podman is called, its name, the URL of its server, the seconds until it was ready."""

    podman: tuple[str, ...]
    name: str
    client: httpx.Client
    ready: float

    def exec(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it."""
        return _run([*self.podman, "exec", self.name, *words])

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run code in it by its own Python."""
        return self.exec(PYTHON, "-I", "-c", code)

    def log(self) -> str:
        """Return what it printed."""
        done = _run([*self.podman, "logs", self.name])
        return done.stdout + done.stderr

    def post(self, path: str, body: Any) -> Any:
        """Return the answer to a request, which must succeed."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def end(self) -> int:
        """Send SIGTERM to the first process, wait until it has ended, and return its exit code."""
        process = int(_run([*self.podman, "inspect", "--format", "{{.State.Pid}}", self.name]).stdout)
        os.kill(process, signal.SIGTERM)
        return int(_run([*self.podman, "wait", "--interval", "20ms", self.name]).stdout)


def podman() -> tuple[str, ...]:
    """Return the command of podman, with the storage that packages are built in."""
    for name in ("podman", "runc", "skopeo", "buildah", "mmdebstrap"):
        program(name, name)
    plain = ("--events-backend", "none", "--cgroup-manager", "cgroupfs", "--runtime", "runc")
    return ("podman", *store().options, *plain)


@contextmanager
def started(
    package: Path, *options: str, words: tuple[str, ...] = (), ready: bool = True, path: str = "/readyz"
) -> Iterator[Container]:
    """Start the image of a package with tight limits; `words` are the server's options, `path` tells if it is ready."""
    command, name, port = podman(), f"test-{uuid.uuid4().hex[:8]}", free_port()
    title = json.loads((package / "image" / "index.json").read_text())["manifests"][0]["annotations"]
    place = f"oci:image:{title['org.opencontainers.image.ref.name']}"
    image = _run([*command, "pull", "-q", place], check=True, folder=package).stdout.split()[-1]
    begun = time.monotonic()
    start = [*command, "run", "-d", "--name", name, "--network", "host", *LIMITS, *options, image]
    try:
        _run([*start, "--port", str(port), *words], check=True)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
        with client:
            if ready:
                _wait(client, command, name, path)
            yield Container(command, name, client, time.monotonic() - begun)
    finally:
        _run([*command, "rm", "--force", "--time", "0", name])
        _run([*command, "rmi", "--force", image])


def _wait(client: httpx.Client, command: tuple[str, ...], name: str, path: str) -> None:
    begun = time.monotonic()
    while True:
        try:
            if client.get(path).status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        state = _run([*command, "inspect", "--format", "{{.State.Running}}", name]).stdout.strip()
        log = _run([*command, "logs", name])
        assert state == "true", log.stdout + log.stderr
        assert time.monotonic() - begun < PATIENCE, log.stdout + log.stderr
        time.sleep(0.05)


def _run(
    command: list[str], *, check: bool = False, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=folder
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def base_image(
    folder: Path, files: Mapping[str, bytes | str], arch: str = "amd64", history: Sequence[str] = ()
) -> str:
    """Write an OCI layout of one layer with these files (a text is a link) and return how the user names it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size, entry.mode = len(content), 0o755
                archive.addfile(entry, io.BytesIO(content))
    layer = _blob(folder, packed.getvalue())
    config = {
        "architecture": arch,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        **({"history": [{"comment": one} for one in history]} if history else {}),
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **_blob(folder, _json(config))},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer}],
    }
    written = _blob(folder, _json(manifest))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    index = {"schemaVersion": 2, "manifests": [{"mediaType": manifest["mediaType"], **written}]}
    (folder / "index.json").write_bytes(_json(index))
    return f"oci:{folder}@{written['digest']}"


def _blob(folder: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    place = folder / "blobs" / "sha256"
    place.mkdir(parents=True, exist_ok=True)
    (place / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def policy() -> Path:
    """The file that says that images need no signature: they are named by digests or made here."""
    return Path(target.__file__).with_name("policy.json")


def pip_settings() -> list[str]:
    """Return options of buildah by which pip finds packages in a build as it does here."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    options = []
    for key, value in found.items():
        name, text = key.rpartition(".")[2], value.strip("'")
        options += ["--env", f"PIP_{name.upper().replace('-', '_')}={text}"]
        for place in text.split():
            path = Path(place.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                options += ["--volume", f"{path}:{path}:ro"]
    return options


@contextmanager
def builder_image(images: Store, scratch: Path) -> Iterator[str]:
    """An image of this machine's Debian with apt and pip, as a Containerfile builds in."""
    image, packed = "localhost/edgehone-builder:test", scratch / "builder.tar"
    words = ["mmdebstrap", "--quiet", "--variant=apt", "--include=python3-pip,ca-certificates"]
    _run([*words, debian.suite()[0], str(packed), str(debian.sources())], check=True)
    with images.container("scratch", "amd64") as container:
        images.run("add", "-q", container, packed, "/")
        images.commit(container, image)
    packed.unlink()
    try:
        yield image
    finally:
        images.remove(image)


def built_by_containerfile(package: Path, bundle: Path, scratch: Path, *more: str) -> Path:
    """Build the image of a package's Containerfile, with `more` options of buildah; return its layout."""
    images, built = store(), "localhost/edgehone-built:test"
    with builder_image(images, scratch) as builder:
        words = [
            "--signature-policy",
            str(policy()),
            "--build-arg",
            f"BUILDER={builder}",
            "--format",
            "docker",
        ]
        words += ["--build-context", f"bundle={bundle}", *more, "-t", built]
        images.run("bud", *words, str(package / "build"))
    try:
        images.write(built, scratch / "built", "built")
    finally:
        images.remove(built)
    return scratch / "built"


def without(program_name: str, folder: Path) -> str:
    """Return a PATH on which everything is but one program."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for path in sorted(Path(place).iterdir()) if Path(place).is_dir() else ():
            if path.name != program_name and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return str(folder)
