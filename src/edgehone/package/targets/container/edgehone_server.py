"""An image that runs `edgehone serve`, which verifies every file and proves its engine at each start."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Final

from edgehone.attestation.keys import read_verification_key
from edgehone.attestation.verify import verify_bundle
from edgehone.backends import registry
from edgehone.core.errors import InputError
from edgehone.package.target import Request
from edgehone.package.targets.container import python_layers, wheels
from edgehone.package.targets.container.base import COMPILE, PYTHON, Base, Needs
from edgehone.package.targets.container.buildah import Store
from edgehone.package.targets.container.debian import suite
from edgehone.package.targets.container.program import HOME, site_packages
from edgehone.package.targets.container.server import Layers, Steps

NAME = "edgehone"
README = "README.txt"
_START: Final = (f"/{HOME}/bin/python", "-I", f"/{HOME}/start.py")
PROBE: Sequence[str] = (*_START, "probe")
READY: Sequence[str] = (*_START, "ready")
ALONE: Sequence[str] = (f"/{HOME}/bin/python", "-I", "-c", "")
OWN = "edgehone"
PROVES_ITSELF = True


def check_request(request: Request) -> None:
    """Raise InputError for options of another backend, and NotVerified if the key has not signed the bundle."""
    options, backend = request.options, request.bundle.manifest.recipe["backend"]
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
    if key := options.get("key"):
        verify_bundle(request.bundle.path, read_verification_key([key]))


def needs(options: Mapping[str, str]) -> Needs:
    """Return what the base must have: Python, and for a GPU its driver."""
    gpu = ("gpu",) if options["device"] == "gpu" else ()
    return Needs((*PYTHON.packages, *gpu), PYTHON.libraries, PYTHON.python)


def layers(store: Store, base: Base, request: Request) -> Layers:
    """Make the layers of Python packages, and of edgehone with llama.cpp where the backend needs it."""
    wanted = _wanted(request, base)
    packages = python_layers.packages_layer(store, base, wanted, request.tell)
    image, llama = python_layers.program_layer(
        store, base, packages.image, wanted, request.options, request.scratch, request.tell
    )
    if base.is_named:
        python_layers.check_imports(store, base, image, wanted)
    return Layers(image, ("Python packages", "edgehone and programs"), llama, packages.installed)


def command(request: Request, place: str, name: str) -> list[str]:
    """Return the first process. It finds the bundle, and a key, itself."""
    return list(_START)


def environment(backend: str) -> dict[str, str]:
    """Return the variables by which edgehone finds its Python and llama.cpp."""
    return python_layers.environment_of(backend)


def steps(base: Base, request: Request) -> Steps:
    """Return the stage that installs the Python packages, and the commands that compile them."""
    wanted = _wanted(request, base)
    packages = wheels.requirements(wanted)
    names = ["*", *(line.partition("==")[0] for line in packages.splitlines())]
    left_out = [*(one for name in names for one in wheels.patterns(name, wanted)), *wheels.NOTES]
    stages, above = (
        Template(Path(__file__).with_name(f"Containerfile-{part}.txt").read_text("utf-8")).substitute(
            packages_left_out=" \\\n      ".join(f"'{one}'" for one in dict.fromkeys(left_out)),
            site_packages=site_packages(base),
            compile=json.dumps([base.python, *COMPILE, f"/{site_packages(base)}"]),
            methods=json.dumps(python_layers.methods_command(wanted.backend)),
        )
        for part in ("packages", "python")
    )
    builder = f"python:{base.version}-slim" + ("" if base.is_named else f"-{suite()[0]}")
    has = ("pip", f"Python {base.version}")
    return Steps(builder, has, stages, above, {"requirements.txt": packages})


def cache_bytes(request: Request) -> int:
    """Return 0: the server fits its cache to the memory that it has."""
    return 0


def readme_values(request: Request, name: str) -> dict[str, str]:
    """Return a request that the server answers, and what it does about signatures."""
    if request.bundle.manifest.kind == "graph":
        asked = (
            f"curl http://127.0.0.1:8080/v2/models/{name}    # inputs and outputs; POST …/infer computes them"
        )
    else:
        body = json.dumps({"model": name, "prompt": "Once upon a time", "max_tokens": 40})
        asked = f"curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' -d '{body}'"
    signature = "the server serves only bundles that the key in the image has signed."
    if "key" not in request.options:
        signature = (
            "who signed the bundle is not checked, and the server says so. Mount the public key, and it serves only\n"
            "  what this key has signed: `--volume signing.pub:/etc/edgehone/key.pem:ro`."
        )
    return {"request": asked, "signature": signature}


def notes(request: Request) -> list[str]:
    """Return what was not tried on a device of OpenVINO."""
    device = request.options["device"].upper()
    return [] if device == "CPU" else [f"OpenVINO's plugin for the {device} was not tried on such a device"]


def _wanted(request: Request, base: Base) -> wheels.Wanted:
    manifest, options = request.bundle.manifest, request.options
    backend, kind = manifest.recipe["backend"], wheels.kind_of(manifest)
    return wheels.Wanted(backend, kind, options["device"], options["arch"], base.version)
