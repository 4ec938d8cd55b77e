"""A static runner for Linux devices without Python, with systemd units, and an image for updates by RAUC."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final

from edgehone.backends.llamacpp.runner.machines import Machine, architectures, machine_of
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.package import runner, settings
from edgehone.package.names import original_name
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.embedded import checks, firmware

NAME: Final = "embedded"
SUMMARY: Final = "a static program, systemd units and a RAUC image for Linux devices without Python"
TOOLS: Sequence[Tool] = (Tool("mke2fs", "e2fsprogs"), Tool("debugfs", "e2fsprogs"))
OPTIONS: Sequence[Option] = (
    Option("name", "name of the service"),
    Option("architecture", "of the device's processor", "arm64", architectures()),
    Option("cpu", "instruction set of the kernels, such as armv8-a (default: the architecture's usual one)"),
    Option("threads", "threads of the runner", "4"),
    Option("tokens", "most tokens of a text", "256"),
    Option("context", "tokens of prompt and text together (default: the model's, at most 4096)"),
    Option("compatible", "the `compatible` of the device's RAUC system (default: edgehone-NAME)"),
    Option(
        "rauc-cert",
        "certificate (PEM) that signs a RAUC bundle; without it only the bundle's content is made",
        file=True,
    ),
    Option("rauc-key", "private key (PEM) of that certificate", file=True),
)
BUDGET: int | None = None
HERE = Path(__file__).parent
_MOST_CONTEXT = 4096
# The settings of a recipe that the runner has: llama.cpp chooses flash attention as the processor needs it.
_APPLIED = ("flash_attention",)
_REST = 192 << 20  # bytes for the runner's buffers, beside the model and the context's cache


def refuses(bundle: Bundle) -> str | None:
    """Return why the runner cannot run the bundle's artifact."""
    backend = bundle.manifest.recipe["backend"]
    if backend != "llamacpp" or bundle.manifest.kind != "language":
        kind = bundle.manifest.kind
        return f"its artifact is a {kind} model of {backend}; the runner loads GGUF files of language models"
    if settings.has_draft(bundle):
        return settings.refused_draft("the runner")
    if bundle.manifest.pictures is not None or len(list(bundle.artifact.glob("*.gguf"))) != 1:
        return "it consists of several GGUF files (vision-language, an adapter), and the runner loads one"
    return None


def build(request: Request, folder: Path) -> Built:
    """Write the folder for plain Linux devices, and the content of a RAUC bundle."""
    machine = _machine(request)
    program = runner.ensure(machine, request.tell)
    values = _values(request, machine)
    name = values["name"]
    place = folder / name
    place.mkdir()
    (source,) = request.bundle.artifact.glob("*.gguf")
    for path, to in ((program.program, "edgehone-runner"), (program.licence, "LICENSE.llama.cpp")):
        shutil.copyfile(path, place / to)
    (place / "edgehone-runner").chmod(0o755)
    shutil.copyfile(source, place / "model.gguf")
    plain = {**values, "place": f"/opt/edgehone/{name}", "unit_lines": "", "service_lines": ""}
    (place / f"{values['unit']}.service").write_text(_filled("edgehone.service", plain), "utf-8")
    firmware.build(request, folder, place, values)
    deliverables = [
        Deliverable(name, "folder for Linux devices with systemd"),
        Deliverable(firmware.FOLDER, "content of a RAUC bundle, and what the root file system needs for it"),
    ]
    if "rauc-cert" in request.options:
        firmware.sign(folder, values, request)
        deliverables.append(Deliverable(f"{name}.raucb", "signed RAUC bundle of the model and its runner"))
    return Built(
        tuple(deliverables),
        (Carried(source.relative_to(request.bundle.path).as_posix(), f"{name}/model.gguf"),),
        _filled("README.md", values),
        (*_notes(values), *settings.notes(request.bundle, _APPLIED, "the runner")),
        runs_on=runner.proof_of(machine),
    )


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Check the units with systemd-analyze, the image with e2fsck, and a RAUC bundle with rauc."""
    return checks.check(folder, built, scratch)


def _machine(request: Request) -> Machine:
    return machine_of(request.options["architecture"], request.options.get("cpu"))


def _filled(template: str, values: dict[str, str]) -> str:
    return Template((HERE / f"{template}.template").read_text("utf-8")).substitute(values)


def _values(request: Request, machine: Machine) -> dict[str, str]:
    """Return what the templates contain. Raises InputError for invalid options."""
    bundle, options = request.bundle, request.options
    name = options.get("name", original_name(bundle.manifest))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", name):
        raise InputError(f"the option name is {name!r}", hint="use letters, digits, '.', '_' and '-'")
    if ("rauc-cert" in options) != ("rauc-key" in options):
        raise InputError("rauc-cert and rauc-key belong together", hint="give both, or neither")
    numbers = {each: _number(each, options[each]) for each in ("threads", "tokens")}
    trained = bundle.decision.model.get("context") or _MOST_CONTEXT
    context = _number("context", options["context"]) if "context" in options else min(trained, _MOST_CONTEXT)
    if numbers["tokens"] >= context:
        raise InputError(
            f"the option tokens is {numbers['tokens']}, which leaves no prompt in a context of {context}",
            hint="give fewer tokens, or a larger context",
        )
    cache = (bundle.decision.model.get("kv_bytes_per_token") or 0) * context
    size = sum(one.stat().st_size for one in bundle.artifact.glob("*.gguf"))
    return {
        "name": name,
        "unit": f"edgehone-{name}",
        "architecture": machine.architecture,
        "cpu": machine.cpu,
        "features": ", ".join(machine.features),
        "compatible": options.get("compatible", f"edgehone-{name}"),
        "version": bundle.manifest.artifact_key[:12],
        "context": str(context),
        "memory": f"{-(-(size + cache + _REST) // (1 << 20))}M",
        **{each: str(number) for each, number in numbers.items()},
    }


def _number(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 24:
        raise InputError(f"the option {option} is {text!r}", hint="give a whole number of 1 or more")
    return int(text)


def _notes(values: dict[str, str]) -> tuple[str, ...]:
    return (
        f"the program is compiled for {values['cpu']} ({values['features']}) and refuses other processors",
        "the file model.gguf in the RAUC image is aligned to 4 KiB: a file of other bytes than the bundle's, whose "
        "tensors and metadata were compared one by one and are the same",
        "the program contains parts of the GNU C library (LGPL 2.1), statically linked",
    )
