"""Certifying is interrupted at random moments: the bundle is always there, and always either certified or as it was."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgehone
from edgehone.attestation.keys import read_signing_key
from edgehone.attestation.verify import verify_bundle
from tests.attestation.signed import certified, make_key, public

# Certifies a bundle again and again, with a signature and without, until it is killed.
LOOP = """
import sys
from pathlib import Path
from tests.attestation.signed import certified
bundle, key = map(Path, sys.argv[1:])
print("begun", flush=True)
while True:
    certified(bundle, key)
    certified(bundle, None)
"""


def kill_once(bundle: Path, key: Path, rng: random.Random) -> bool:
    """Kill a process that certifies; return whether the bundle then has a signature."""
    words = [sys.executable, "-c", LOOP, str(bundle), str(key)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        time.sleep(rng.random() / 5)
        process.kill()
    found = verify_bundle(bundle)
    assert edgehone.verify(edgehone.read(bundle)) == []
    if found.is_signed:
        assert verify_bundle(bundle, public(key)).certificate
    return found.is_signed


@pytest.mark.whole
def test_a_killed_process_leaves_a_whole_bundle(spoiled: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path)
    for number in range(6):
        kill_once(spoiled, key, random.Random(number))
    certified(spoiled, key)  # what the last one left beside the bundle does not matter
    assert verify_bundle(spoiled, public(key)).is_signed and read_signing_key(key)
    assert sorted(path.name for path in spoiled.parent.iterdir()) == ["bundle", "signing.key", "signing.pub"]


@pytest.mark.long
def test_two_hundred_killed_processes(spoiled: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path)
    assert len({kill_once(spoiled, key, random.Random(number)) for number in range(100, 300)}) == 2
