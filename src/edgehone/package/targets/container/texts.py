"""What people read: README.md and notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from edgehone.core.sizes import shown
from edgehone.package.target import Request
from edgehone.package.targets.container.base import Base, runs_here
from edgehone.package.targets.container.debian import USER
from edgehone.package.targets.container.layout import Image
from edgehone.package.targets.container.server import Layers, Server

# What the memory limit of the README allows besides the model and a cache that the server allots when it starts.
_BESIDES = 256 << 20


def readme(name: str, image: Image, cpu: Sequence[str], request: Request, server: Server) -> str:
    """Return README.md."""
    artifact = sum(one.stat().st_size for one in request.bundle.artifact.rglob("*") if one.is_file())
    return Template(Path(__file__).with_name(server.README).read_text("utf-8")).substitute(
        server.readme_values(request, name),
        name=name,
        size=shown(sum(one["size"] for one in image.manifest["layers"])),
        digest=image.digest,
        arch=image.config["architecture"],
        memory=f"{-(-(_BESIDES + 2 * artifact + server.cache_bytes(request)) >> 20)}m",
        version=request.bundle.manifest.artifact_key,
        user=USER,
        probe=" ".join(server.PROBE),
        cpu=", ".join(cpu) or "any",
    )


def notes(request: Request, base: Base, layers: Layers, image: Image, server: Server) -> tuple[str, ...]:
    """Return what a user must know."""
    stored, arch = image.manifest["layers"], request.options["arch"]
    found = [f"the base image: {base.said}", f"the layer of the bundle takes {shown(stored[-1]['size'])}"]
    if not runs_here(arch):
        found.append(f"the image was not started: this machine does not run {arch}")
    if layers.llama.is_unknown:
        found.append(
            "which instructions the given llama.cpp needs is not known: its library does not run here"
        )
    return (*found, *server.notes(request))
