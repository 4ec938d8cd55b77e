"""Random changes of a signed bundle, every one of which must be refused."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import VerificationKey, read_signing_key
from edgehone.attestation.verify import verify_bundle
from edgehone.attestation.write import certify_bundle
from edgehone.core.errors import InputError
from tests.attestation.signed import EVIDENCE, certificate_of, certified, make_key, public
from tests.finished import Finished, list_again

SIGNED = ("signature.sigstore.json", "verdicts.sigstore.json")


class Place:
    """A signed bundle, another one signed with the same key, and a copy of the first that is changed."""

    def __init__(self, finished: Path, folder: Path) -> None:
        self.folder, self.key = folder, make_key(folder)
        self.bundle = certified(Path(shutil.copytree(finished, folder / "first" / "bundle")), self.key)
        self.other = Path(shutil.copytree(finished, folder / "second" / "bundle"))
        for name in ("artifact/weights.bin", "report.html"):
            (self.other / name).write_bytes(b"another")
        list_again(self.other)
        certified(self.other, self.key)
        self.changed = folder / "changed" / "bundle"
        self.outside = folder / "outside"
        self.accepted: VerificationKey = public(self.key)

    def renew(self) -> None:
        """Make the copy anew."""
        for one in (self.changed, self.outside):
            shutil.rmtree(one, ignore_errors=True)
        self.outside.mkdir(parents=True)
        shutil.copytree(self.bundle, self.changed)

    def files(self) -> list[Path]:
        return sorted(path for path in self.changed.rglob("*") if path.is_file())

    def folders(self) -> list[Path]:
        return [self.changed, *sorted(path for path in self.changed.rglob("*") if path.is_dir())]


@pytest.fixture(scope="module")
def place(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The bundles, which the tests of this module share."""
    return Place(_finished.bundle, tmp_path_factory.mktemp("tampering"))


Change = Callable[[Place, random.Random], Path | None]


def flip_a_bit(place: Place, rng: random.Random) -> Path:
    path = rng.choice([one for one in place.files() if one.stat().st_size])
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return path


def flip_a_bit_of_a_signature(place: Place, rng: random.Random) -> Path:
    path = place.changed / rng.choice(SIGNED)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return path


def insert(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.files())
    content = path.read_bytes()
    at = rng.randrange(len(content) + 1)
    path.write_bytes(content[:at] + rng.choice([b" ", b"\n", b"\0", b"x"]) + content[at:])
    return path


def cut(place: Place, rng: random.Random) -> Path:
    path = rng.choice([one for one in place.files() if one.stat().st_size])
    with path.open("r+b") as file:
        file.truncate(rng.randrange(path.stat().st_size))
    return path


def spell_a_signature_otherwise(place: Place, rng: random.Random) -> Path:
    """Keep what the signature says, in other bytes."""
    path = place.changed / rng.choice(SIGNED)
    data = json.loads(path.read_text())
    one = data["dsseEnvelope"]["signatures"][0]
    kind = rng.randrange(6)
    if kind == 0:
        path.write_text(json.dumps(data, indent=1))
    elif kind == 1:
        path.write_text(json.dumps(dict(reversed(data.items())) | {"more": None}, separators=(",", ":")))
    elif kind == 2:
        one["keyid"] = "another"
        path.write_text(json.dumps(data, separators=(",", ":")))
    elif kind == 3:
        one["sig"] += "\n"
        path.write_text(json.dumps(data, separators=(",", ":")))
    elif kind == 4:
        data["verificationMaterial"]["publicKey"]["hint"] = "0" * 64
        path.write_text(json.dumps(data, separators=(",", ":")))
    else:
        payload = base64.b64decode(data["dsseEnvelope"]["payload"]) + b" "
        data["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
        path.write_text(json.dumps(data, separators=(",", ":")))
    return path


def remove(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.files())
    path.unlink()
    return path


def remove_a_folder(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.folders()[1:])
    shutil.rmtree(path)
    return path


def add(place: Place, rng: random.Random) -> Path:
    names = (
        ".gitignore",
        ".git/config",
        "x",
        "Manifest.json",
        "signature.sigstore.json.bak",
        "a b",
        "ü",
        "certification/y",
    )
    folder = rng.choice(place.folders())
    path = folder / rng.choice(names)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rng.randbytes(rng.randrange(3)))
    return path


def add_a_folder(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.folders()) / rng.choice(["new", ".git", "tokenizer2", "canaries2"])
    path.mkdir()
    return path


def add_what_is_no_file(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.folders()) / "pipe"
    os.mkfifo(path)
    return path


def rename(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.files())
    name = rng.choice(
        [path.name.swapcase(), f"{path.name} ", f".{path.name}", path.name + "\u200b", "renamed"]
    )
    path.rename(path.with_name(name))
    return path


def rename_a_folder(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.folders()[1:])
    path.rename(path.with_name(f"{path.name}-2"))
    return path


def link_a_file(place: Place, rng: random.Random) -> Path:
    """Put a symbolic link to an equal file in the place of a file."""
    path = rng.choice(place.files())
    moved = place.outside / "moved"
    path.rename(moved)
    path.symlink_to(moved)
    return path


def link_a_folder(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.folders()[1:])
    moved = place.outside / "moved"
    path.rename(moved)
    path.symlink_to(moved)
    return path


def add_a_link(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.folders()) / "link"
    path.symlink_to(rng.choice([*place.files(), place.folder, Path("nowhere"), Path(), Path("/etc/passwd")]))
    return path


def give_a_second_name(place: Place, rng: random.Random) -> Path:
    """Keep a way to write to a file that was verified."""
    path = rng.choice(place.files())
    (rng.choice([place.outside, *place.folders()]) / "second").hardlink_to(path)
    return path


def permit(place: Place, rng: random.Random) -> Path | None:
    path = rng.choice([*place.files(), *place.folders()])
    odd = (
        stat.S_IWOTH
        if path.is_dir()
        else rng.choice([stat.S_IWOTH, stat.S_ISUID, stat.S_ISGID, stat.S_ISVTX])
    )
    path.chmod(stat.S_IMODE(path.stat().st_mode) | odd)
    return None if path == place.changed else path


def swap_within(place: Place, rng: random.Random) -> Path | None:
    first, second = rng.sample(place.files(), 2)
    if first.read_bytes() == second.read_bytes():
        return flip_a_bit(place, rng)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    return None


def swap_with_another_signed_bundle(place: Place, rng: random.Random) -> None:
    """Take some files, but not all that differ, from another bundle that was signed with the same key."""
    names = [str(path.relative_to(place.changed)) for path in place.files()]
    differing = [
        one for one in names if (place.other / one).read_bytes() != (place.bundle / one).read_bytes()
    ]
    for one in rng.sample(differing, rng.randrange(1, len(differing))):
        shutil.copy(place.other / one, place.changed / one)


def put_a_folder_in_the_place_of_a_file(place: Place, rng: random.Random) -> Path:
    path = rng.choice(place.files())
    path.unlink()
    path.mkdir()
    (path / "x").touch()
    return path


def sign_with_another_key(place: Place, rng: random.Random) -> None:
    flip_a_bit_and_list(place, rng)
    foreign = read_signing_key(make_key(place.outside))
    certify_bundle(place.changed, certificate_of(place.changed), EVIDENCE, foreign)


def flip_a_bit_and_list(place: Place, rng: random.Random) -> None:
    for name in ("certificate.json", "certificate.html", "bom.cdx.json", *SIGNED):
        (place.changed / name).unlink()
    shutil.rmtree(place.changed / "certification")
    path = rng.choice([one for one in place.files() if one.parent.name == "artifact"])
    path.write_bytes(path.read_bytes() + b"!")
    list_again(place.changed)


def strip_the_certification(place: Place, rng: random.Random) -> None:
    flip_a_bit_and_list(place, rng)


CHANGES: tuple[Change, ...] = (
    flip_a_bit, flip_a_bit_of_a_signature, insert, cut, spell_a_signature_otherwise, remove, remove_a_folder, add,
    add_a_folder, add_what_is_no_file, rename, rename_a_folder, link_a_file, link_a_folder, add_a_link,
    give_a_second_name, permit, swap_within, swap_with_another_signed_bundle, put_a_folder_in_the_place_of_a_file,
    sign_with_another_key, strip_the_certification,
)  # fmt: skip


def refuse(place: Place, number: int) -> None:
    """Make the change of that number, and check that it is refused by the name of what was changed."""
    rng = random.Random(number)
    change = CHANGES[number % len(CHANGES)]
    place.renew()
    path = change(place, rng)
    with pytest.raises(InputError) as caught:
        verify_bundle(place.changed, place.accepted)
        pytest.fail(f"change {number}, {change.__name__} of {path}, was not noticed")
    told = caught.value
    assert told.hint and told.exit_code in (1, 2)
    if path is not None:
        names = {
            path.name,
            *(part.name for part in path.parents if place.changed in (part.parent, *part.parents)),
        }
        assert any(name in told.message for name in names), (number, change.__name__, path, told.message)


def test_an_unchanged_copy_is_accepted(place: Place) -> None:
    place.renew()
    assert verify_bundle(place.changed, place.accepted).signed_by
    assert verify_bundle(place.other, place.accepted).signed_by
    linked = place.outside / "current"
    linked.symlink_to(place.changed)
    assert verify_bundle(linked, place.accepted).signed_by


@pytest.mark.parametrize("first", range(0, 176, len(CHANGES)))
def test_random_changes_are_refused(place: Place, first: int) -> None:
    for number in range(first, first + len(CHANGES)):
        refuse(place, number)


@pytest.mark.long
def test_a_thousand_random_changes_are_refused(place: Place) -> None:
    for number in range(1000, 2100):
        refuse(place, number)


@pytest.mark.long
def test_every_bit_of_the_signatures_counts(place: Place) -> None:
    """What a signature does not cover is in these two files: their own spelling."""
    for name in SIGNED:
        place.renew()
        path = place.changed / name
        content = path.read_bytes()
        # Of the payload every 701st byte, of the rest, which no signature covers, every one.
        covered = range(content.index(b'"payload":"') + 11, content.index(b'","payloadType"') - 4)
        for at in sorted({*range(len(content))} - {*covered} | {*covered[::701]}):
            for bit in range(8):
                spoiled = bytearray(content)
                spoiled[at] ^= 1 << bit
                path.write_bytes(spoiled)
                with pytest.raises(NotVerified):
                    verify_bundle(place.changed, place.accepted)
                    pytest.fail(f"bit {bit} of byte {at} of {name} does not count")
