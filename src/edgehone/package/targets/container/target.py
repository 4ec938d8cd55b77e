"""An OCI image that serves the bundle on port 8080, built by buildah without Docker.

The image has no shell and no package manager, runs as a user without rights, and writes only to /tmp. Its layers, from
the lowest: base, Python packages of the backend, edgehone, bundle (`image.py`).
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from edgehone.attestation.keys import read_verification_key
from edgehone.attestation.verify import verify_bundle
from edgehone.backends import registry
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.package.names import original_name
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.container import checks, image, wheels
from edgehone.package.targets.container.base import Base, base_of
from edgehone.package.targets.container.bom import Materials, write_bom
from edgehone.package.targets.container.buildah import store
from edgehone.package.targets.container.layout import read_image, write_history
from edgehone.package.targets.container.program import HOME
from edgehone.package.targets.container.texts import build_files, notes, readme

NAME: Final = "container"
SUMMARY: Final = "an OCI image that serves the bundle on port 8080, without shell and Docker"
TOOLS: Sequence[Tool] = (
    Tool("buildah", "buildah"),
    Tool("mmdebstrap", "mmdebstrap"),
    Tool("dpkg-deb", "dpkg"),
)
OPTIONS: Sequence[Option] = (
    Option("name", "name of the image and of the model that clients ask for (default: the model's name)"),
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
    options = request.options
    name = _name(request)
    wanted = _wanted(request)
    if key := options.get("key"):
        verify_bundle(request.bundle.path, read_verification_key([key]))
    images = store()
    images.sweep()
    base = base_of(images, options.get("base"), wanted.arch, wanted.device, request.tell)
    wanted = wheels.Wanted(wanted.backend, wanted.kind, wanted.device, wanted.arch, base.version)
    packages = image.packages_layer(images, base, wanted, request.tell)
    parent, program = image.program_layer(
        images, base, packages.image, wanted, options, request.scratch, request.tell
    )
    if "base" in options:
        image.check_imports(images, base, parent, wanted)
    materials = Materials(name, base, packages.installed, program.llama, request.bundle)
    write_bom(folder / SBOM, materials)
    tree = request.scratch / "final"
    _write_final(tree, request, name, folder / SBOM)
    labels = _labels(request, name, base, program.cpu)
    final = image.Final(tree, image.environment_of(wanted.backend), labels, request.time)
    request.tell("writing the image")
    whole = f"localhost/edgehone-package:{uuid.uuid4().hex}"
    image.final_image(images, parent, wanted.arch, final, whole)
    images.write(whole, folder / "image", name)
    images.remove(whole)
    own = _layers(read_image(folder / "image").manifest["layers"])
    write_history(folder / "image", own[-3:] if "base" in options else own)
    build_files(folder / "build", base, wanted, final, request.scratch / "program", name)
    written = read_image(folder / "image")
    layer = written.manifest["layers"][-1]["digest"].replace(":", "/")
    files = sorted(
        one.relative_to(request.bundle.path).as_posix()
        for one in request.bundle.path.rglob("*")
        if one.is_file()
    )
    carried = [Carried(one, f"image/blobs/{layer}!bundles/{name}/{one}") for one in files]
    parts = dict(
        zip(
            _layers(written.manifest["layers"]),
            (one["size"] for one in written.manifest["layers"]),
            strict=True,
        )
    )
    return Built(
        (Deliverable("image", "OCI image layout; skopeo, podman and containerd read it"),),
        tuple(carried),
        readme(name, written, program.cpu, request),
        notes(wanted, program.is_unknown, base, written),
        {"image": parts},
    )


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Read the image with skopeo, and start it with podman."""
    return checks.check(folder / "image", scratch)


def _name(request: Request) -> str:
    given = request.options.get("name") or original_name(request.bundle.manifest).lower()
    name = given if "name" in request.options else re.sub(r"[^a-z0-9]+", "-", given).strip("-") or "model"
    if not _NAME.fullmatch(name):
        raise InputError(
            f"the name {name!r} is not one of an image",
            hint="give lower-case letters, digits, '.', '_' and '-'",
        )
    return name


def _wanted(request: Request) -> wheels.Wanted:
    options, manifest = request.options, request.bundle.manifest
    backend = manifest.recipe["backend"]
    if options["device"] != "cpu" and backend != "openvino":
        raise InputError(
            f"device={options['device']} keeps OpenVINO's plugins, and the artifact is {backend}'s",
            hint="leave out --set device",
        )
    given = [one for one in ("cpu", "toolchain") if one in options]
    if given and registry.load(backend).NEEDS.toolchain is None:
        raise InputError(
            f"{given[0]}={options[given[0]]} is for llama.cpp, and the artifact is {backend}'s",
            hint=f"leave out --set {given[0]}",
        )
    if len(given) > 1:
        raise InputError(
            "cpu says for what llama.cpp is compiled, and toolchain that it is", hint="give one of the two"
        )
    return wheels.Wanted(backend, wheels.kind_of(manifest), options["device"], options["arch"], "")


def _write_final(tree: Path, request: Request, name: str, bom: Path) -> None:
    """Write the files of the last layer: the bundle, the bill of materials, the key."""
    (tree / HOME).mkdir(parents=True)
    shutil.copyfile(bom, tree / HOME / SBOM)
    shutil.copytree(request.bundle.path, tree / "bundles" / name)
    if key := request.options.get("key"):
        shutil.copyfile(key, tree / HOME / "key.pem")


def _labels(request: Request, name: str, base: Base, cpu: Sequence[str]) -> dict[str, str]:
    manifest = request.bundle.manifest
    own = "org.opencontainers.image"
    labels = {
        f"{own}.title": name,
        f"{own}.description": f"edgehone serve of {name} on port 8080",
        f"{own}.version": manifest.artifact_key,
        f"{own}.created": manifest.created,
        "io.edgehone.version": version("edgehone"),
        "io.edgehone.manifest": manifest.digest,
        "io.edgehone.recipe": f"{manifest.recipe['backend']}/{manifest.recipe['name']}",
        "io.edgehone.approved": "yes" if manifest.approved else "no",
        "io.edgehone.cpu": ",".join(cpu),
        "io.edgehone.device": request.options["device"],
        "io.edgehone.probe": f"/{HOME}/bin/python -I /{HOME}/start.py probe",
    }
    place, _, digest = base.said.rpartition("@")
    if digest.startswith("sha256:"):
        labels[f"{own}.base.digest"] = digest
    if "/" in place:  # a reference, as the annotation wants it
        labels[f"{own}.base.name"] = place
    return labels


def _layers(layers: Sequence[object]) -> list[str]:
    """Return what each layer contains; a base image may have several."""
    upper = ["Python packages", "edgehone and programs", "bundle"]
    lower = len(layers) - len(upper)
    base = ["base image"] if lower == 1 else [f"base image, layer {number}" for number in range(1, lower + 1)]
    return [*base, *upper]
