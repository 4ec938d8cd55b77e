"""Checks of Android packages by the programs of the Android SDK, and by llama.cpp itself."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgehone.package.canaries import Answering, check_answers
from edgehone.package.programs import check_digests, check_program
from edgehone.package.target import Built, Check
from edgehone.package.targets.android.aligned_zip import offset_of
from edgehone.package.targets.android.model import MIN_SDK

_V2_SDK: Final = 24  # Android 7: before v3, so that apksigner verifies both schemes


def check(folder: Path, built: Built) -> Sequence[Check]:
    """Check what was built; an asset pack is checked when an app is built with it, but for its model."""
    (place,) = {one.at for one in built.carried if one.at.endswith("/model.gguf") and ".aar!" not in one.at}
    archive, _, member = place.partition("!")
    if not member:
        return [_digest(folder / place), _in_place(folder, archive, member)]
    apk, aar = folder / archive, (folder / archive).with_suffix(".aar")
    signed: list[str | Path] = ["apksigner", "verify", "-v", f"--min-sdk-version={_V2_SDK}", apk]
    return [
        check_program("apksigner verify", signed, "apksigner", _signed),
        check_program("aapt dump badging", ["aapt", "dump", "badging", apk], "aapt", _described),
        check_program("zipalign of the APK", ["zipalign", "-c", "-p", "4", apk], "zipalign"),
        check_program("zipalign of the AAR", ["zipalign", "-c", "-p", "4", aar], "zipalign"),
        _in_place(folder, archive, member),
    ]


def _digest(model: Path) -> Check:
    """Compare the model of an asset pack with the digest beside it, as the sample does."""
    settings = json.loads(model.with_name("settings.json").read_text("utf-8"))
    return check_digests("sha256sum of the model", {model: settings["sha256"]})


def _in_place(folder: Path, archive: str, member: str) -> Check:
    """Load the model from its offset in the archive, as the sample does, and compare its answers to the canaries."""
    name = "llama.cpp runs the model in place"
    try:
        offset = offset_of(folder / archive, member) if member else 0
    except (OSError, ValueError, KeyError, struct.error, zipfile.BadZipFile) as error:
        return Check(name, "failed", f"the model is not to be found: {error}")
    call = Answering(
        "edgehone.package.targets.android.in_place:answers", {"package": folder / archive}, {"offset": offset}
    )
    return check_answers(name, folder, call)


def _signed(output: str) -> str | None:
    missing = [
        scheme for scheme in ("v2", "v3") if not re.search(rf"using {scheme} scheme[^\n]*: true", output)
    ]
    return f"it is not verified by {', '.join(missing)}" if missing else None


def _described(output: str) -> str | None:
    expected = (r"package: name='[\w.]+' versionCode='\d+' versionName='[^']+'", rf"sdkVersion:'{MIN_SDK}'")
    missing = [one for one in expected if not re.search(one, output)]
    return f"its description lacks {', '.join(missing)}" if missing else None
