"""The bill of materials of an image, in CycloneDX: Debian's packages, Python's packages, llama.cpp and the model."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgehone.bundle.read import Bundle
from edgehone.package.targets.container.base import Base
from edgehone.package.targets.container.wheels import Installed


@dataclass(frozen=True)
class Materials:
    """What an image is made of. `llama` is the version.json of llama.cpp, or {}, and `own` what edgehone has in it."""

    name: str
    base: Base
    packages: Sequence[Installed]
    llama: Mapping[str, Any]
    bundle: Bundle
    own: str


def write_bom(path: Path, materials: Materials) -> None:
    """Write the bill of materials."""
    path.write_text(json.dumps(_bom(materials), indent=1, ensure_ascii=False) + "\n", "utf-8")


def _bom(materials: Materials) -> dict[str, Any]:
    manifest = materials.bundle.manifest
    components = [*_debian(materials.base), *_python(materials.packages), *_llama(materials.llama)]
    components += [_edgehone(materials.own), _model(materials.bundle)]
    digest = f"{manifest.digest} {materials.base.key} {[one['bom-ref'] for one in components]}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, digest).urn,
        "version": 1,
        "metadata": {
            "timestamp": manifest.created,
            "tools": {"components": [_edgehone("edgehone")]},
            "component": {
                "type": "container",
                "bom-ref": "image",
                "name": materials.name,
                "version": manifest.artifact_key,
                "properties": [{"name": "edgehone:base", "value": materials.base.said}],
            },
        },
        "components": components,
        "dependencies": [{"ref": "image", "dependsOn": [one["bom-ref"] for one in components]}],
    }


def _debian(base: Base) -> Iterator[dict[str, Any]]:
    for name, number, arch in base.packages:
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(number, safe='')}?arch={arch}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl}


def _python(packages: Sequence[Installed]) -> Iterator[dict[str, Any]]:
    for one in packages:
        purl = f"pkg:pypi/{one.name}@{quote(one.version, safe='')}"
        component = {
            "type": "library",
            "bom-ref": purl,
            "name": one.name,
            "version": one.version,
            "purl": purl,
        }
        if one.licence:
            component["licenses"] = [{"license": {"name": one.licence}}]  # type: ignore[assignment]
        yield component


def _llama(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if found:
        purl = f"pkg:github/ggml-org/llama.cpp@{found.get('commit')}"
        yield {
            "type": "application",
            "bom-ref": purl,
            "name": "llama.cpp",
            "version": str(found.get("llama.cpp")),
            "purl": purl,
            "licenses": [{"license": {"id": "MIT"}}],
        }


def _edgehone(name: str) -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": name,
        "name": name,
        "version": version("edgehone"),
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def _model(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    files = [
        {
            "type": "file",
            "bom-ref": f"file:{name}",
            "name": name,
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }
        for name, digest in sorted(manifest.files.items())
        if name.startswith(("artifact/", "tokenizer/"))
    ]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": str(manifest.model.get("name") or "model"),
        "version": manifest.artifact_key,
        "components": files,
    }
