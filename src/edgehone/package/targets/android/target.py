"""Android packages with a GGUF file: a signed data APK and an AAR, or an asset pack for Google Play."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.package import settings
from edgehone.package.proof import proof_of_device
from edgehone.package.target import Built, Check, Deliverable, Option, Request, Tool
from edgehone.package.targets.android import checks, model
from edgehone.package.targets.android.aligned_zip import PAGE, Member, offset_of, write_zip
from edgehone.package.targets.android.apk_signature import sign
from edgehone.package.targets.android.binary_xml import compile_manifest
from edgehone.package.targets.android.model import Model, model_of
from edgehone.package.targets.android.signer import CERTIFICATE, KEY, Signer, signer_of
from edgehone.package.templates import copy_files, filled, filled_xml

NAME: Final = "android"
SUMMARY: Final = "a data APK and an AAR with a GGUF file, or an asset pack, and a Kotlin sample"
TOOLS: Sequence[Tool] = ()
APK, ASSET_PACK = "apk", "asset-pack"
OPTIONS: Sequence[Option] = (
    Option(
        "layout",
        "apk: installable and library; asset-pack: a module that Google Play delivers",
        APK,
        (APK, ASSET_PACK),
    ),
    Option(
        "threading",
        "android_optimized: as many threads as big cores; default: as many as cores",
        "android_optimized",
        tuple(model.THREADS),
    ),
    Option(
        "memory_management",
        "conservative: prompts in batches of 128 tokens; default: of 512",
        "conservative",
        tuple(model.BATCHES),
    ),
    Option(
        "tokenizer",
        "runtime: llama.cpp's own; original: the original's tokenizer.json is carried for apps that use it",
        model.RUNTIME,
        (model.RUNTIME, model.ORIGINAL),
    ),
    Option("name", "name of the model among the assets"),
    Option("application_id", "identifier of the APK (default: com.example.models.NAME)"),
    Option("version_name", "version that people see (default: the time of the bundle)"),
    Option(KEY, "private key (PEM, RSA or EC) that signs the APK (default: a public test key)", file=True),
    Option(CERTIFICATE, "certificate (PEM) of that key", file=True),
)
BUDGET: int | None = 100_000_000
_PACK_LIMIT: Final = 1_500_000_000  # Google Play's for an asset pack
_ZIP_LIMIT: Final = (1 << 31) - (
    64 << 20
)  # Android reads no ZIP64, and offsets of entries are signed in places
_HERE: Final = Path(__file__).parent
_TEMPLATES: Final = _HERE / "templates"
_OTHERWISE: Final = "deliver it as an asset pack of up to 1.5 GB: --set layout=asset-pack"
_NOTES: Final = (
    "the sample's source was not compiled here (edgehone's tests compile its Kotlin), and nothing was run on an "
    "Android device: speed and memory there are unknown",
)
_TEST_KEY: Final = (
    "the APK is signed with edgehone's public test key, which everybody has: for trials only, never for release "
    "(--set signing_key=… --set signing_certificate=…)"
)
_TOKENIZER: Final = (
    "on the device llama.cpp's own tokenizer makes the ids of a prompt; the figures were measured on those of the "
    "original's tokenizer (--set tokenizer=original carries it)"
)
_CARRIED_TOKENIZER: Final = (
    "the figures were measured on the ids of the original's tokenizer, which is carried for apps that have a library "
    "for tokenizer.json; the sample uses llama.cpp's own"
)


def refuses(bundle: Bundle) -> str | None:
    """Return why the sample's llama.cpp cannot run the bundle's artifact."""
    backend = bundle.manifest.recipe["backend"]
    if backend != "llamacpp":
        return f"its artifact is {backend}'s; android runs GGUF files with llama.cpp"
    if bundle.manifest.kind != "language":
        return "it generates no text, and the sample computes no hidden states"
    if settings.has_draft(bundle):
        return settings.refused_draft("the sample")
    if bundle.manifest.pictures is not None or len(list(bundle.artifact.glob("*.gguf"))) != 1:
        return "it consists of several GGUF files (vision-language, an adapter, a draft), and the sample loads one"
    return None


def build(request: Request, folder: Path) -> Built:
    """Write the data APK and the AAR, or the asset pack, with the sample beside."""
    found = model_of(request)
    copy_files(_HERE / "sample", folder / "sample")
    layout = request.options["layout"]
    copy_files(_HERE / "location" / layout.replace("-", "_"), folder / "sample/app/src/main/location")
    values = _values(request, found)
    (folder / "sample/gradle.properties").write_text(
        filled(_TEMPLATES / "gradle.properties", values), "utf-8"
    )
    notes = (*_NOTES, *_conditions(request.bundle, request.options["tokenizer"]))
    if layout == ASSET_PACK:
        return _asset_pack(found, folder, values, notes)
    return _archives(request, found, folder, values, notes)


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Check the archives with the Android SDK's programs, and let llama.cpp run the model where it lies."""
    return checks.check(folder, built)


def _conditions(bundle: Bundle, tokenizer: str) -> list[str]:
    """Return the differences between a phone and the machine where the figures were measured."""
    found = settings.notes(bundle, model.APPLIED, "the sample")
    if bundle.manifest.tokenizer == "original":
        found.append(_CARRIED_TOKENIZER if tokenizer == model.ORIGINAL else _TOKENIZER)
    architecture = proof_of_device(bundle.manifest.device).architecture
    if architecture != "aarch64":
        found.append(
            f"the figures were measured on {architecture}; phones have arm64, whose kernels give other results: "
            "edgehone prove PACKAGE --on arm64 scores the same file with them"
        )
    return found


def _archives(
    request: Request, found: Model, folder: Path, values: Mapping[str, Any], notes: tuple[str, ...]
) -> Built:
    signer = signer_of(request.options)
    if found.gguf.stat().st_size > _ZIP_LIMIT:
        raise InputError(f"{found.gguf} is larger than an APK can be (2 GiB)", hint=_OTHERWISE)
    apk, aar = (folder / f"{found.name}.{kind}" for kind in ("apk", "aar"))
    manifest = compile_manifest(filled_xml(_TEMPLATES / "apk.xml", values))
    assets = [Member(f"assets/{one.name}", one.content, one.alignment) for one in found.members]
    write_zip(apk, [Member("AndroidManifest.xml", manifest), *assets], request.time)
    sign(apk, signer, model.MIN_SDK)
    write_zip(aar, [*_library(values, request), *assets], request.time)
    offset = offset_of(apk, f"assets/{found.folder}/model.gguf")
    if offset % PAGE:
        raise AssertionError(f"the model begins at {offset}, which is no multiple of {PAGE}")
    values = {**values, "offset": f"{offset:,}", **_signing(signer, values)}
    return Built(
        (
            Deliverable(apk.name, "installable data package", otherwise=_OTHERWISE),
            Deliverable(aar.name, "library for an app's build", otherwise=_OTHERWISE),
        ),
        found.carried_in(f"{apk.name}!assets") + found.carried_in(f"{aar.name}!assets"),
        filled(_TEMPLATES / "apk.md", values),
        (_TEST_KEY, *notes) if signer.test else notes,
    )


def _library(values: Mapping[str, Any], request: Request) -> list[Member]:
    """Return what an AAR must have besides assets: a manifest, an empty list of resources, and an empty JAR."""
    jar = request.scratch / "classes.jar"
    write_zip(jar, [Member("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n")], request.time)
    return [
        Member("AndroidManifest.xml", filled_xml(_TEMPLATES / "aar.xml", values).encode()),
        Member("R.txt", b""),
        Member("classes.jar", jar),
    ]


def _asset_pack(found: Model, folder: Path, values: Mapping[str, Any], notes: tuple[str, ...]) -> Built:
    place = folder / found.name
    assets = place / "src/main/assets"
    for one in found.members:
        target = assets / one.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(one.content, bytes):
            target.write_bytes(one.content)
        else:
            shutil.copyfile(one.content, target)
    (place / "build.gradle.kts").write_text(filled(_TEMPLATES / "asset_pack.gradle.kts", values), "utf-8")
    return Built(
        (Deliverable(place.name, "module with an asset pack for Google Play", limit=_PACK_LIMIT),),
        found.carried_in(assets.relative_to(folder).as_posix()),
        filled(_TEMPLATES / "asset_pack.md", values),
        notes,
    )


def _values(request: Request, found: Model) -> dict[str, Any]:
    """Return what the templates name."""
    manifest = request.bundle.manifest
    values: dict[str, Any] = {
        "name": found.name,
        "pack": found.name,
        "label": manifest.model["name"],
        "layout": request.options["layout"],
        "folder": found.folder,
        "application_id": found.application_id,
        "version_code": found.version_code,
        "version_name": found.version_name,
        "sha256": found.sha256,
        "min_sdk": model.MIN_SDK,
        "target_sdk": model.TARGET_SDK,
        "android": model.ANDROID,
        "llama_cpp": manifest.versions.get("llamacpp", {}).get("llama.cpp", "not stated by the bundle"),
        **{name: found.settings[name] for name in ("context", "kv_cache", "batch", "threads")},
    }
    return {**values, "common": filled(_TEMPLATES / "common.md", values)}


def _signing(signer: Signer, values: Mapping[str, Any]) -> dict[str, str]:
    digest = hashlib.sha256(signer.certificate).hexdigest()
    template = "test_key.md" if signer.test else "own_key.md"
    return {"signing": filled(_TEMPLATES / template, {**values, "certificate": digest}).rstrip()}
