"""How long `edgehone verify` takes for a large bundle: `make bench-verify` (after `make demo`).

A copy of a bundle gets files of random bytes, is certified and signed, and verified by a process of its own, its start
included. The goal is 5 s for 1 GB. OpenSSF model-signing's own command line does the same for comparison; it verifies
the signature and the digests only. The files are in the page cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgehone.attestation.certificate import Certificate
from edgehone.attestation.keys import SigningKey
from edgehone.attestation.write import certify_bundle, subject_of
from edgehone.bundle import read
from edgehone.bundle.schema import MANIFEST, is_certification, text_of
from edgehone.model.digest import digest_folder

_GOAL_SECONDS = 5.0
_RUNS = 3
_MB = 1_000_000


def main() -> int:
    """Measure and print; return 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", nargs="?", default="demo-bundle", type=Path)
    parser.add_argument("--mb", type=int, default=1000, help="megabytes to verify (default: 1000)")
    given = parser.parse_args()
    late = False
    print(f"{os.cpu_count()} processors, {given.mb} MB, median of {_RUNS} runs")
    for count in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            bundle, public = _signed(given.bundle, Path(folder), given.mb, count)
            ours = _seconds("edgehone.cli.main", "verify", str(bundle), "--key", str(public))
            theirs = _seconds(
                *("model_signing", "verify", "key", str(bundle), "--no-ignore-git-paths"),
                *("--signature", str(bundle / "signature.sigstore.json"), "--public_key", str(public)),
            )
        goal = _GOAL_SECONDS * given.mb / 1000
        late |= ours > goal
        print(f"{count} large files: edgehone {ours:.2f} s (goal {goal:g} s), model-signing {theirs:.2f} s")
    return int(late)


def _signed(source: Path, folder: Path, mb: int, count: int) -> tuple[Path, Path]:
    """Return a signed copy of a bundle with `count` files of `mb` megabytes in all, and the public key."""
    bundle = Path(shutil.copytree(source, folder / "bundle"))
    for number in range(count):
        with (bundle / "artifact" / f"ballast-{number}.bin").open("wb") as file:
            for _ in range(mb // count):
                file.write(os.urandom(_MB))
    manifest = read(bundle).manifest
    files = {
        name: digest
        for name, digest in digest_folder(bundle).items()
        if name != MANIFEST and not is_certification(name)
    }
    (bundle / MANIFEST).write_text(text_of(replace(manifest, files=files).to_json()), "utf-8")
    private = ec.generate_private_key(ec.SECP256R1())
    certify_bundle(bundle, _certificate(bundle), {}, SigningKey(private))
    public = folder / "signing.pub"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return bundle, public


def _certificate(bundle: Path) -> Certificate:
    subject = subject_of(bundle)
    return Certificate(
        edgehone="benchmark",
        created="2026-01-01T00:00:00+00:00",
        profile="benchmark",
        approval="no",
        conditions=("no check was made",),
        checks=(),
        checklist=(),
        device={},
        instruction_sets=(),
        artifact_key=subject.artifact_key,
        artifact=subject.artifact,
        decision=subject.decision,
    )


def _seconds(*words: str) -> float:
    """Return the median time of a command of this interpreter."""
    return statistics.median(_once([sys.executable, "-m", *words]) for _ in range(_RUNS))


def _once(words: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
