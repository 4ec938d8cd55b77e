"""Name and contents of the Android package of a bundle."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgehone.bundle.read import Bundle
from edgehone.bundle.schema import SIGNATURE
from edgehone.core.errors import InputError
from edgehone.package.document import documents_of
from edgehone.package.names import original_name
from edgehone.package.target import Carried, Request
from edgehone.package.targets.android.aligned_zip import PAGE, Member

MIN_SDK: Final = 28  # llama.cpp needs Android 9
TARGET_SDK: Final = 36
ANDROID: Final = "9"
# How many tokens of a prompt are read at once: buffers grow with them. llama.cpp's own is 512.
BATCHES: Final = {"conservative": 128, "default": 512}
# Threads: as many as big cores, or as all cores.
THREADS: Final = {"android_optimized": "big", "default": "all"}
# The settings of a recipe that the sample has; llama.cpp chooses flash attention as the processor needs it.
APPLIED: Final = ("kv_cache", "flash_attention")
# Whose tokenizer is used on the device: llama.cpp's own, or the original's, whose files are then carried.
RUNTIME: Final = "runtime"
ORIGINAL: Final = "original"
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")


@dataclass(frozen=True)
class Model:
    """A model as an Android package: `folder` is where its files are among the assets, `members` are the files.

    `carried` maps a file of the bundle to its place in that folder.
    """

    name: str
    folder: str
    application_id: str
    version_code: int
    version_name: str
    gguf: Path
    sha256: str
    settings: dict[str, Any]
    members: tuple[Member, ...]
    carried: dict[str, str]

    def carried_in(self, at: str) -> tuple[Carried, ...]:
        """Return what is carried where `at` is the place of the assets: `tiny.apk!assets`, a folder."""
        return tuple(Carried(name, f"{at}/{place}") for name, place in self.carried.items())


def model_of(request: Request) -> Model:
    """Return the model of a request. Raises InputError for an identifier or version that Android does not take."""
    bundle = request.bundle
    (gguf,) = bundle.artifact.glob("*.gguf")
    name = slug(request.options.get("name") or original_name(bundle.manifest))
    identifier = request.options.get("application_id", f"com.example.models.{name}")
    if not _IDENTIFIER.fullmatch(identifier):
        raise InputError(
            f"the option application_id is {identifier!r}",
            hint="give words of letters, digits and _ with dots between them, such as com.example.tiny",
        )
    version = request.options.get("version_name", time.strftime("%Y.%m.%d.%H%M", time.gmtime(request.time)))
    if not _VERSION.fullmatch(version):
        raise InputError(f"the option version_name is {version!r}", hint="give one such as 1.0.2")
    folder = f"models/{name}"
    settings = {
        "model": "model.gguf",
        "sha256": _sha256(gguf),
        "context": int(bundle.decision.workload.get("context") or 0) or _tokens(bundle.decision.workload),
        "kv_cache": bundle.manifest.recipe["settings"].get("kv_cache", "f16"),
        "batch": BATCHES[request.options["memory_management"]],
        "threads": THREADS[request.options["threading"]],
        "bundle": bundle.manifest.to_json()["digest"],
    }
    text = (json.dumps(settings, indent=1) + "\n").encode()
    tokenizer = _tokenizer_of(bundle, request.options["tokenizer"])
    return Model(
        name=name,
        folder=folder,
        application_id=identifier,
        version_code=request.time // 60,
        version_name=version,
        gguf=gguf,
        sha256=settings["sha256"],
        settings=settings,
        members=(
            Member(f"{folder}/model.gguf", gguf, PAGE),
            Member(f"{folder}/settings.json", text),
            *(Member(f"{folder}/{one}", bundle.path / one) for one in tokenizer),
            *(Member(f"{folder}/bundle/{one}", bundle.path / one) for one in documents_of(bundle)),
        ),
        carried={
            gguf.relative_to(bundle.path).as_posix(): f"{folder}/model.gguf",
            **{one: f"{folder}/{one}" for one in tokenizer},
            **{one: f"{folder}/bundle/{one}" for one in documents_of(bundle) if one != SIGNATURE},
        },
    )


def _tokenizer_of(bundle: Bundle, whose: str) -> list[str]:
    """Return the names of the original's tokenizer's files in the bundle, [] if they are not asked for."""
    if whose != ORIGINAL:
        return []
    if bundle.tokenizer is None or not (bundle.tokenizer / "tokenizer.json").is_file():
        raise InputError(
            f"{bundle.path} has no tokenizer.json of its original", hint="leave the option tokenizer out"
        )
    files = sorted(one for one in bundle.tokenizer.rglob("*") if one.is_file())
    return [one.relative_to(bundle.path).as_posix() for one in files]


def slug(name: str) -> str:
    """Return a name as a part of an identifier: lower case letters, digits and _, a letter first."""
    text = re.sub(r"[^a-z0-9]+", "_", name.lower().removesuffix(".gguf")).strip("_")
    return text if text[:1].isalpha() else f"model_{text}".rstrip("_")


def _tokens(workload: Any) -> int:
    return int(workload["prompt_tokens"]) + int(workload["generated_tokens"])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
