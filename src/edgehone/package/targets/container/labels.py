"""The labels of an image, and what its history says of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from edgehone.package.target import Request
from edgehone.package.targets.container.base import Base
from edgehone.package.targets.container.server import LABEL, Server


def labels_of(request: Request, name: str, base: Base, cpu: Sequence[str], server: Server) -> dict[str, str]:
    """Return the labels: what is in the image, who serves it, and what it needs."""
    manifest = request.bundle.manifest
    own = "org.opencontainers.image"
    serves = "edgehone serve" if server.NAME == "edgehone" else server.NAME
    labels = {
        f"{own}.title": name,
        f"{own}.description": f"{serves} of {name} on port 8080",
        f"{own}.version": manifest.artifact_key,
        f"{own}.created": manifest.created,
        "io.edgehone.version": version("edgehone"),
        "io.edgehone.manifest": manifest.digest,
        "io.edgehone.recipe": f"{manifest.recipe['backend']}/{manifest.recipe['name']}",
        "io.edgehone.approved": "yes" if manifest.approved else "no",
        "io.edgehone.cpu": ",".join(cpu),
        "io.edgehone.device": request.options["device"],
        "io.edgehone.probe": " ".join(server.PROBE),
        LABEL: server.NAME,
    }
    place, _, digest = base.said.rpartition("@")
    if digest.startswith("sha256:"):
        labels[f"{own}.base.digest"] = digest
    if "/" in place:  # a reference, as the annotation wants it
        labels[f"{own}.base.name"] = place
    return labels


def contents_of(layers: Sequence[object], upper: Sequence[str]) -> list[str]:
    """Return what each of the layers contains; a base image may have several below the `upper` ones."""
    lower = len(layers) - len(upper)
    base = ["base image"] if lower == 1 else [f"base image, layer {number}" for number in range(1, lower + 1)]
    return [*base, *upper]
