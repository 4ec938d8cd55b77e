"""An image that runs llama-server alone: no Python, and nothing that verifies or proves at the start.

Its first process (`start.c`) checks the processor and passes signals on. The bundle is in the image as in others; its
answers are compared when the package is made (`proven.py`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgehone.backends.llamacpp.engine import device_options
from edgehone.backends.llamacpp.tools import ARTIFACT
from edgehone.core.errors import InputError, SetupError
from edgehone.package import llama_server
from edgehone.package.target import Request
from edgehone.package.targets.container import glibc
from edgehone.package.targets.container.base import Base, Needs, runs_here
from edgehone.package.targets.container.buildah import Store
from edgehone.package.targets.container.debian import suite
from edgehone.package.targets.container.image import Compiled, check_glibc, layer
from edgehone.package.targets.container.llama import LLAMA, machine_with_compilers, write_llama
from edgehone.package.targets.container.program import HOME
from edgehone.package.targets.container.server import Layers, Steps

NAME = "llama-server"
README = "README-llama-server.txt"
_START: Final = f"/{HOME}/start"
_SERVER: Final = f"/{LLAMA}/bin/llama-server"
PROBE: Sequence[str] = (_START, "probe")
READY: Sequence[str] = PROBE
ALONE: Sequence[str] = (_SERVER, "--version")
OWN = "edgehone-start"
PROVES_ITSELF = False
_LIBRARIES: Final = ("libgcc_s.so.1", "libgomp.so.1", "libstdc++.so.6")
# As edgehone's own engine has it: a further cache would take up to 8 GiB of memory, which a limited container has not.
_OPTIONS: Final = ("--offline", "--no-webui", "--cache-ram", "0")
_ANYWHERE: Final = ("--host", "0.0.0.0", "--port", "8080", "--metrics")
_SOURCE: Final = Path(__file__).with_name("start.c")


def check_request(request: Request) -> None:
    """Raise InputError for what llama-server cannot have, SetupError if nothing here can start the image."""
    options, manifest = request.options, request.bundle.manifest
    backend = manifest.recipe["backend"]
    if backend != "llamacpp" or manifest.kind != "language":
        raise InputError(
            f"server={NAME} loads GGUF files of language models, and the artifact is a {manifest.kind} model of "
            f"{backend}",
            hint="leave out --set server: edgehone serves it",
        )
    if "key" in options:
        raise InputError(
            f"key={options['key']} says who must have signed the bundle, and with server={NAME} nothing in the image "
            "verifies that",
            hint="leave out --set server, or verify the package where it arrives: edgehone verify PACKAGE --key KEY",
        )
    if options["device"] != "cpu":
        raise InputError(
            f"device={options['device']} keeps OpenVINO's plugins, and the artifact is llamacpp's",
            hint="leave out --set device",
        )
    if not [one for one in manifest.canaries if "picture" not in one]:
        raise InputError(
            f"the bundle has no canary of text, and with server={NAME} its answers are compared only when the package "
            "is made",
            hint="leave out --set server, or make the bundle again with its reproduce.sh",
        )
    if runs_here(options["arch"]) and shutil.which("podman") is None:
        raise SetupError(
            f"podman is not installed: it starts the image, whose answers are compared only now with server={NAME}",
            hint="apt install podman runc",
        )


def needs(options: Mapping[str, str]) -> Needs:
    """Return what the base must have: the libraries of C, C++ and OpenMP."""
    return Needs((NAME,), _LIBRARIES, python=False)


def layers(store: Store, base: Base, request: Request) -> Layers:
    """Make the layer of llama.cpp and the first process."""
    tree, arch = request.scratch / "program", request.options["arch"]
    llama = write_llama(tree, "llamacpp", arch, request.options, request.tell, binding=False)
    _write_start(tree / HOME, arch, llama.cpu)
    check_glibc(base, glibc.needed_by(tree), "llama.cpp")
    image = layer(store, base.image, tree, arch, Compiled((), None))
    if base.is_named and runs_here(arch):
        _check_libraries(store, base, image, arch)
    return Layers(image, ("llama.cpp",), llama)


def _write_start(folder: Path, arch: str, cpu: Sequence[str]) -> None:
    """Compile the first process, for the baseline of the architecture. Raises SetupError if that fails."""
    folder.mkdir(parents=True)
    machine = machine_with_compilers(arch)
    words = [
        machine.compilers[0],
        "-O2",
        f"-march={machine.baseline}",
        f"-ffile-prefix-map={_SOURCE.parent}=.",
    ]
    words += [f'-DFEATURES="{" ".join(cpu)}"', f'-DSERVER="{_SERVER}"']
    words += ["-s", "-Wl,--build-id=none", "-o", str(folder / "start"), str(_SOURCE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        hint = f"apt install {machine.compiler_packages}"
        raise SetupError(f"{words[0]} cannot compile the first process of the image: {last}", hint=hint)


def _check_libraries(store: Store, base: Base, image: str, arch: str) -> None:
    with store.container(image, arch) as container:
        try:
            store.run("run", "--network", "none", container, "--", *ALONE)
        except SetupError as error:
            raise InputError(
                f"the base {base.said} lacks what llama-server needs: {error.message}",
                hint="name a base image that has it, or leave out --set base",
            ) from error


def command(request: Request, place: str, name: str) -> list[str]:
    """Return the first process and the options of llama-server: the recipe's, and where it listens."""
    artifact = Path(place) / "artifact"
    settings = request.bundle.manifest.recipe["settings"]
    words = [_START, "--model", str(artifact / ARTIFACT), "--alias", name, *_ANYWHERE, *_OPTIONS]
    words += [*device_options(settings), *llama_server.server_options(request.bundle, artifact)]
    return [str(one) for one in words]


def environment(backend: str) -> dict[str, str]:
    """Return the variables: only a home that can be written."""
    return {"HOME": "/tmp"}


def steps(base: Base, request: Request) -> Steps:
    """Return the steps: the programs are in an archive beside the Containerfile."""
    builder = "" if base.is_named else f"debian:{suite()[0]}-slim"
    return Steps(builder, (), "", "ADD program.tar /\n")


def cache_bytes(request: Request) -> int:
    """Return the bytes of the KV cache, in float16, of the whole context."""
    each = int(request.bundle.decision.model.get("kv_bytes_per_token") or 0)
    return each * llama_server.context(request.bundle)


def readme_values(request: Request, name: str) -> dict[str, str]:
    """Return requests that the server answers."""
    body = {"model": name, "prompt": "Once upon a time", "max_tokens": 40, "temperature": 0}
    context, arch = llama_server.context(request.bundle), request.options["arch"]
    compared = "Its answers were compared with the proven ones once, when the package was made."
    if not runs_here(arch):
        compared = (
            f"Its answers were never compared with the proven ones: {arch} does not run where it was made."
        )
    return {"request": json.dumps(body), "context": str(context), "compared": compared}


def notes(request: Request) -> list[str]:
    """Return what an image without edgehone does not do, and what was not compared."""
    found = [
        "the image runs llama-server alone: when it starts it verifies neither files nor signatures and proves "
        "nothing, and it has no admission control and only llama-server's own metrics; its answers were compared with "
        "the proven ones when the package was made",
        "the target kubernetes needs an image with server=edgehone, whose command verifies the bundle and which has "
        "/readyz and edgehone's metrics",
    ]
    if not runs_here(request.options["arch"]):
        found[0] = found[0].rpartition(";")[0] + "; its answers were never compared with the proven ones"
    if llama_server.has_pictures(request.bundle):
        found.append(
            "answers about pictures were not compared: llama-server takes no ids of tokens with a picture"
        )
    return found
