"""An OCI image that serves the bundle on port 8080, built by buildah without Docker.

The image has no shell and no package manager, runs as a user without rights, and writes only to /tmp. The lowest of its
layers is the base, the uppermost the bundle; those between are the server's (`server.py`).
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.package.names import original_name
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.container import checks, image, wheels
from edgehone.package.targets.container.base import base_of
from edgehone.package.targets.container.bom import Materials, write_bom
from edgehone.package.targets.container.buildah import store
from edgehone.package.targets.container.containerfile import build_files
from edgehone.package.targets.container.labels import contents_of, labels_of
from edgehone.package.targets.container.layout import Image, read_image, write_history
from edgehone.package.targets.container.program import HOME
from edgehone.package.targets.container.servers import SERVERS
from edgehone.package.targets.container.texts import notes, readme

NAME: Final = "container"
SUMMARY: Final = "an OCI image that serves the bundle on port 8080, without shell and Docker"
TOOLS: Sequence[Tool] = (
    Tool("buildah", "buildah"),
    Tool("mmdebstrap", "mmdebstrap"),
    Tool("dpkg-deb", "dpkg"),
)
OPTIONS: Sequence[Option] = (
    Option("name", "name of the image and of the model that clients ask for (default: the model's name)"),
    Option(
        "server",
        "what serves: edgehone, or llama-server alone without Python, which verifies and proves nothing at its start",
        "edgehone",
        tuple(SERVERS),
    ),
    Option("arch", "architecture of the image", "amd64", ("amd64", "arm64")),
    Option(
        "base",
        "base image by its digest: oci:FOLDER@sha256:… or REGISTRY/IMAGE@sha256:… (default: from Debian)",
        file=True,
    ),
    Option(
        "device",
        "OpenVINO's plugins that the image has besides that of the CPU",
        "cpu",
        ("cpu", "gpu", "npu"),
    ),
    Option(
        "key",
        "public key (PEM) that must have signed what the image serves (default: one mounted later)",
        file=True,
    ),
    Option(
        "cpu",
        "instruction set that llama.cpp is compiled for, such as x86-64-v3 or armv8-a (default: this machine's; for "
        "another architecture its usual one)",
    ),
    Option(
        "toolchain", "folder of a llama.cpp of your own, in the place of the one that is compiled", file=True
    ),
)
BUDGET: int | None = None
SBOM: Final = "sbom.cdx.json"
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


def refuses(bundle: Bundle) -> str | None:
    """Return why no image can serve the bundle."""
    manifest = bundle.manifest
    if not (bundle.canaries if manifest.kind == "graph" else manifest.canaries):
        return "it has no canaries, by which a server proves its engine"
    return wheels.check_backend(manifest.recipe["backend"], wheels.kind_of(manifest))


def build(request: Request, folder: Path) -> Built:
    """Write the image as an OCI layout, the bill of materials, and the files to build it elsewhere."""
    options, bundle, name = request.options, request.bundle, _name(request)
    place, server = f"bundles/{name}", SERVERS[options["server"]]
    if "cpu" in options and "toolchain" in options:
        raise InputError(
            "cpu says for what llama.cpp is compiled, and toolchain that it is", hint="give one of the two"
        )
    server.check_request(request)
    images = store()
    images.sweep()
    base = base_of(images, options.get("base"), options["arch"], server.needs(options), request.tell)
    layers = server.layers(images, base, request)
    bom, llama = folder / SBOM, layers.llama
    write_bom(bom, Materials(name, base, layers.packages, llama.version, bundle, server.OWN))
    final = image.Final(
        _final_tree(request, place, bom),
        server.command(request, f"/{place}", name),
        server.environment(bundle.manifest.recipe["backend"]),
        labels_of(request, name, base, llama.cpu, server),
        request.time,
    )
    written = _write_image(request, final, layers.image, folder / "image", name)
    contents = contents_of(written.manifest["layers"], (*layers.contents, "bundle"))
    own = contents[-len(layers.contents) - 1 :] if base.is_named else contents
    write_history(folder / "image", own)
    program = request.scratch / "program"
    build_files(folder / "build", base, server.steps(base, request), final, program, name, server.PROBE)
    written = read_image(folder / "image")
    sizes = [one["size"] for one in written.manifest["layers"]]
    return Built(
        (Deliverable("image", "OCI image layout; skopeo, podman and containerd read it"),),
        tuple(_carried(bundle, written, place)),
        readme(name, written, llama.cpu, request, server),
        notes(request, base, layers, written, server),
        {"image": dict(zip(contents, sizes, strict=True))},
    )


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Read the image with skopeo, and start it with podman."""
    return checks.check(folder)


def _name(request: Request) -> str:
    given = request.options.get("name") or original_name(request.bundle.manifest).lower()
    name = given if "name" in request.options else re.sub(r"[^a-z0-9]+", "-", given).strip("-") or "model"
    if not _NAME.fullmatch(name):
        raise InputError(
            f"the name {name!r} is not one of an image",
            hint="give lower-case letters, digits, '.', '_' and '-'",
        )
    return name


def _final_tree(request: Request, place: str, bom: Path) -> Path:
    """Write the files of the last layer: the bundle, the bill of materials, the key."""
    tree = request.scratch / "final"
    (tree / HOME).mkdir(parents=True)
    shutil.copyfile(bom, tree / HOME / SBOM)
    shutil.copytree(request.bundle.path, tree / place)
    if key := request.options.get("key"):
        shutil.copyfile(key, tree / HOME / "key.pem")
    return tree


def _write_image(request: Request, final: image.Final, parent: str, folder: Path, name: str) -> Image:
    request.tell("writing the image")
    images, whole = store(), f"localhost/edgehone-package:{uuid.uuid4().hex}"
    image.final_image(images, parent, request.options["arch"], final, whole)
    images.write(whole, folder, name)
    images.remove(whole)
    return read_image(folder)


def _carried(bundle: Bundle, written: Image, place: str) -> Iterator[Carried]:
    """Yield where each file of the bundle is in the uppermost layer."""
    layer = written.manifest["layers"][-1]["digest"].replace(":", "/")
    for path in sorted(bundle.path.rglob("*")):
        if path.is_file():
            name = path.relative_to(bundle.path).as_posix()
            yield Carried(name, f"image/blobs/{layer}!{place}/{name}")
