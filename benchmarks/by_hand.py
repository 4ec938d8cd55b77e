"""What an APK and an image of the same artifact take that somebody makes by hand, with the usual programs.

The APK is made with zip, zipalign and apksigner. Its manifest is that of the package, since aapt compiles one only with
the Android SDK's android.jar. The image is made in `by_hand_image.py`.
"""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.bundle.read import Bundle
from edgehone.package.write import Packed

# What may be in the way of equal sizes: the model begins at a multiple of 16 KiB, and zipalign knows 4 KiB only.
_PAGE = 16384
_MANIFEST = "AndroidManifest.xml"

Compared = tuple[dict[str, Any], list[str]]


def apk(bundle: Bundle, packed: Packed, folder: Path) -> Compared:
    """Compare the size of the APK with one made by hand of the model alone, and of the same files."""
    if missing := [one for one in ("zip", "zipalign", "apksigner", "openssl") if shutil.which(one) is None]:
        return {"by_hand": f"not installed: {' '.join(missing)}"}, []
    (ours,) = packed.path.glob("*.apk")
    tree = folder / "apk"
    with zipfile.ZipFile(ours) as archive:
        archive.extractall(tree)
        (model,) = (one for one in archive.namelist() if one.endswith("model.gguf"))
    key = _apk_key(folder)
    sizes = {
        "model alone": _apk_of(tree, [_MANIFEST, model], folder / "alone", key),
        "same files": _apk_of(tree, [_MANIFEST, "assets"], folder / "same", key),
    }
    larger = ours.stat().st_size > sizes["same files"] + _PAGE
    return {"by_hand_bytes": sizes}, ["the APK is larger than one made by hand"] if larger else []


def _apk_key(folder: Path) -> tuple[str, str]:
    key, certificate, plain = (str(folder / name) for name in ("apk.pem", "apk.crt", "apk.pk8"))
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=by hand"]
    run([*words, "-keyout", key, "-out", certificate])
    run(["openssl", "pkcs8", "-topk8", "-outform", "DER", "-nocrypt", "-in", key, "-out", plain])
    return plain, certificate


def _apk_of(tree: Path, entries: Sequence[str], place: Path, key: tuple[str, str]) -> int:
    """Return the bytes of a signed APK with these entries, nothing of it compressed."""
    place.mkdir()
    raw, aligned, signed = (str(place / name) for name in ("raw.apk", "aligned.apk", "signed.apk"))
    run(["zip", "-q", "-0", "-X", "-r", raw, *entries], tree)
    run(["zipalign", "-p", "4", raw, aligned])
    words = ["apksigner", "sign", "--key", key[0], "--cert", key[1], "--min-sdk-version", "28"]
    run([*words, "--out", signed, aligned])
    return Path(signed).stat().st_size


def run(command: Sequence[str], folder: Path | None = None) -> str:
    """Return what a program prints; end this one with its message if it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=folder, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} … failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout.strip()
