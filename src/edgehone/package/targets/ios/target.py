"""MLX models for iOS: a Swift package with resources or on-demand resources, and a sample app."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgehone.bundle.read import Bundle
from edgehone.bundle.schema import SIGNATURE
from edgehone.core.errors import InputError
from edgehone.core.sizes import shown
from edgehone.package.canaries import Answering, check_answers
from edgehone.package.document import documents_of
from edgehone.package.programs import check_digests, check_program
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.ios.privacy import privacy_manifest, problem_of
from edgehone.package.templates import copy_files, filled

NAME: Final = "ios"
SUMMARY: Final = "a Swift package with an MLX model, or on-demand resources, and a sample app"
TOOLS: Sequence[Tool] = ()
PACKAGE, ON_DEMAND = "package", "on-demand"
OPTIONS: Sequence[Option] = (
    Option(
        "layout",
        "package: the model is in the app; on-demand: the App Store delivers it when the app asks",
        PACKAGE,
        (PACKAGE, ON_DEMAND),
    ),
    Option("module", "name of the Swift module (default: the model's)"),
    Option(
        "memory_mapping", "true: says how near MLX comes, which maps no files", "false", ("true", "false")
    ),
    Option("background_execution", "limited: the sample stops in the background", "limited", ("limited",)),
)
BUDGET: int | None = 50_000_000
_TAG_LIMIT: Final = 512_000_000  # Apple's for an asset pack before iOS 18; 8 GB since
_HERE: Final = Path(__file__).parent
_TEMPLATES: Final = _HERE / "templates"
_PRIVACY: Final = "PrivacyInfo.xcprivacy"
_OTHERWISE: Final = "deliver it on demand, up to 512 MB: --set layout=on-demand"
_TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json")
_NOTES: Final = (
    "nothing of Apple's was run: the Swift sources were not compiled, and speed and memory on Apple devices are "
    "unknown",
)
_NOT_MAPPED: Final = (
    "memory mapping is not possible with MLX, which reads each array from the file when it is first used; nearest: the "
    "weights are stored uncompressed and are read once"
)


def refuses(bundle: Bundle) -> str | None:
    """Return why mlx-swift-lm cannot run the bundle's artifact."""
    backend = bundle.manifest.recipe["backend"]
    if backend != "mlx":
        return f"its artifact is {backend}'s; ios runs models of mlx"
    if bundle.manifest.pictures is not None or bundle.manifest.kind != "language":
        return "it is not a language model of texts, which the sample runs"
    files = _model_files(bundle)
    missing = [name for name in ("config.json", *_TOKENIZER) if name not in files]
    if not any(name.endswith(".safetensors") for name in files):
        missing.append("*.safetensors")
    return f"it has no {', '.join(missing)}, which mlx-swift-lm reads" if missing else None


def build(request: Request, folder: Path) -> Built:
    """Write the package or the on-demand resources, with the sample beside."""
    module = _module(request)
    layout = request.options["layout"]
    place = folder / module
    resources = place / f"Sources/{module}/Resources" if layout == PACKAGE else place
    carried = _copy(request.bundle, resources, folder)
    values = _values(request, module, resources / "model")
    (_write_package if layout == PACKAGE else _write_on_demand)(folder, module, values)
    copy_files(_HERE / "sample", folder / "sample")
    project = filled(_TEMPLATES / f"project-{layout}.yml", values)
    (folder / "sample/project.yml").write_text(project, "utf-8")
    notes = (*_NOTES, _NOT_MAPPED) if request.options["memory_mapping"] == "true" else _NOTES
    what = "Swift package" if layout == PACKAGE else "on-demand resources"
    deliverable = (
        Deliverable(module, what, otherwise=_OTHERWISE)
        if layout == PACKAGE
        else Deliverable(module, what, _TAG_LIMIT, "from iOS 18 on an asset pack may take 8 GB: --budget 8GB")
    )
    return Built((deliverable,), carried, filled(_TEMPLATES / f"{layout}.md", values), notes)


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Check the privacy manifest, and let MLX run the model where it lies in the package."""
    (config,) = {one.at for one in built.carried if one.at.endswith("/model/config.json")}
    model = (folder / config).parent
    (privacy,) = folder.rglob(_PRIVACY)
    wrong = problem_of(privacy.read_bytes())
    reads: list[str | Path] = ["plistutil", "-i", privacy, "-f", "xml"]
    return [
        Check("the keys of the privacy manifest", "failed" if wrong else "passed", wrong or ""),
        check_program("plistutil reads the privacy manifest", reads, "libplist-utils"),
        check_digests("sha256sum of the model's files", _compiled_digests(folder, model)),
        check_answers(
            "mlx runs the packaged model",
            folder,
            Answering("edgehone.package.answers:answers", {"artifact": model}),
        ),
    ]


def _compiled_digests(folder: Path, model: Path) -> dict[Path, str]:
    """Return what the Swift sources compare the model's files with."""
    (source,) = folder.rglob("Digests.swift")
    found = re.findall(r'"(.+)": "([0-9a-f]{64})"', source.read_text("utf-8"))
    return {model / name: digest for name, digest in found}


def _module(request: Request) -> str:
    given = request.options.get("module")
    if given is not None:
        if not re.fullmatch(r"[A-Z][A-Za-z0-9_]*", given):
            raise InputError(f"the option module is {given!r}", hint="give a name such as TinyModel")
        return given
    words = re.findall(r"[A-Za-z0-9]+", request.bundle.manifest.model["name"])
    name = "".join(word[:1].upper() + word[1:] for word in words)
    return name if name[:1].isalpha() else f"Model{name}"


def _model_files(bundle: Bundle) -> dict[str, Path]:
    """Return the files of the folder that MLX loads: the artifact, and what it lacks of the original's tokenizer."""
    folders = [bundle.tokenizer, bundle.artifact] if bundle.tokenizer else [bundle.artifact]
    return {
        one.relative_to(folder).as_posix(): one
        for folder in folders
        for one in sorted(folder.rglob("*"))
        if one.is_file()
    }


def _copy(bundle: Bundle, resources: Path, folder: Path) -> tuple[Carried, ...]:
    files = {f"model/{name}": path for name, path in _model_files(bundle).items()}
    files |= {f"bundle/{name}": bundle.path / name for name in documents_of(bundle)}
    carried = []
    for name, path in sorted(files.items()):
        target = resources / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        source = path.relative_to(bundle.path).as_posix()
        if source != SIGNATURE:
            carried.append(Carried(source, target.relative_to(folder).as_posix()))
    return tuple(carried)


def _write_package(folder: Path, module: str, values: Mapping[str, Any]) -> None:
    sources = folder / module / "Sources" / module
    (sources / "Resources" / _PRIVACY).write_bytes(privacy_manifest())
    copy_files(_HERE / "shared", sources)
    for name in ("Digests.swift", "PackagedModel.swift"):
        (sources / name).write_text(filled(_TEMPLATES / name, values), "utf-8")
    (folder / module / "Package.swift").write_text(filled(_TEMPLATES / "Package.swift", values), "utf-8")
    _write_opening(folder, "OpenPackage.swift", values)


def _write_on_demand(folder: Path, module: str, values: Mapping[str, Any]) -> None:
    sources = _write_opening(folder, "OpenOnDemand.swift", values)
    (folder / "sample" / _PRIVACY).write_bytes(privacy_manifest())
    copy_files(_HERE / "shared", sources)
    (sources / "Digests.swift").write_text(filled(_TEMPLATES / "Digests.swift", values), "utf-8")


def _write_opening(folder: Path, template: str, values: Mapping[str, Any]) -> Path:
    """Write the function that returns the model's folder into the sample, and return the folder of its sources."""
    sources = folder / "sample/Sources"
    sources.mkdir(parents=True)
    (sources / "OpenModel.swift").write_text(filled(_TEMPLATES / template, values), "utf-8")
    return sources


def _values(request: Request, module: str, model: Path) -> dict[str, Any]:
    """Return what the templates name."""
    files = sorted(one for one in model.rglob("*") if one.is_file())
    digests = [
        f'    "{one.relative_to(model).as_posix()}": "{hashlib.sha256(one.read_bytes()).hexdigest()}",'
        for one in files
    ]
    weights = sum(one.stat().st_size for one in files if one.suffix == ".safetensors")
    mapped = request.options["memory_mapping"] == "true"
    values: dict[str, Any] = {
        "module": module,
        "label": request.bundle.manifest.model["name"],
        "tag": f"edgehone-{module}",
        "digests": "\n".join(digests),
        "weights": shown(weights),
    }
    values["memory"] = filled(_TEMPLATES / ("mapped.md" if mapped else "unmapped.md"), values).rstrip()
    return {**values, "common": filled(_TEMPLATES / "common.md", values)}
