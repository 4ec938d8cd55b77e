"""Random changes of a signed package, every one of which must be refused."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import cast

import pytest

from edgehone.attestation.envelope import seal
from edgehone.attestation.files import read_files
from edgehone.attestation.keys import read_signing_key
from edgehone.attestation.statement import signature_statement
from edgehone.bundle.schema import SIGNATURE, digest_of, text_of
from edgehone.core.errors import InputError
from edgehone.package.target import Target
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, pack
from tests.attestation import test_tampering as bundles
from tests.attestation.signed import certified, make_key, public
from tests.attestation.test_tampering import Change, Place
from tests.finished import Finished, list_again
from tests.package import boxed

BOXED = cast(Target, boxed)


@pytest.fixture(scope="module")
def place(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Packages of two signed bundles, in the place of the bundles that the changes are for."""
    folder = tmp_path_factory.mktemp("tampering")
    place = Place(_finished.bundle, folder)
    for path in sorted((place.other / "artifact").iterdir()):  # the other bundle has another artifact
        path.write_bytes(path.read_bytes() + b"!")
    for one in ("certificate.json", "certificate.html", "bom.cdx.json", *bundles.SIGNED):
        (place.other / one).unlink()
    shutil.rmtree(place.other / "certification")
    list_again(place.other)
    certified(place.other, place.key)
    key = read_signing_key(place.key)
    place.other = pack(place.other, Order(BOXED, folder / "second" / "package", key=key)).path
    place.bundle = pack(place.bundle, Order(BOXED, folder / "first" / "package", key=key)).path
    return place


def list_package_again(folder: Path) -> None:
    """Let package.json list the files as they are, with a digest that fits."""
    data = json.loads((folder / "package.json").read_text())
    digests = read_files(folder).digests
    data["files"] = {
        name: digest for name, digest in digests.items() if name not in ("package.json", SIGNATURE)
    }
    (folder / "package.json").write_text(text_of(data | {"digest": digest_of(data)}))


def sign(folder: Path, key: Path) -> None:
    digests = {name: digest for name, digest in read_files(folder).digests.items() if name != SIGNATURE}
    (folder / SIGNATURE).write_bytes(seal(signature_statement(folder.name, digests), read_signing_key(key)))


def change_a_member(place: Place, rng: random.Random) -> Path:
    """Flip a bit of a carried file in an archive, and list the archive again."""
    with zipfile.ZipFile(place.changed / "box.zip") as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    content = rng.choice([one for one in members.values() if one])
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    with zipfile.ZipFile(place.changed / "box.zip", "w") as archive:
        for name, one in members.items():
            archive.writestr(zipfile.ZipInfo(name), bytes(one))
    if rng.random() < 0.5:
        list_package_again(place.changed)
    return place.changed / "box.zip"


def change_and_strip(place: Place, rng: random.Random) -> None:
    """Change a file around the bundle's, list it, and take the package's signature away."""
    readme = place.changed / "README.md"
    readme.write_text(f"{readme.read_text()}{rng.random()}")
    list_package_again(place.changed)
    (place.changed / SIGNATURE).unlink()


def change_and_sign_with_another_key(place: Place, rng: random.Random) -> None:
    readme = place.changed / "README.md"
    readme.write_text(f"{readme.read_text()}{rng.random()}")
    list_package_again(place.changed)
    sign(place.changed, make_key(place.outside))


def take_a_document_of_another_bundle(place: Place, rng: random.Random) -> None:
    """Take documents of a bundle that the same key signed, and sign the package again with that key."""
    names = [
        path.relative_to(place.changed) for path in place.files() if path.parent == place.changed / "bundle"
    ]
    differing = [
        one for one in names if (place.other / one).read_bytes() != (place.bundle / one).read_bytes()
    ]
    for one in rng.sample(differing, rng.randrange(1, len(differing) + 1)):
        shutil.copy(place.other / one, place.changed / one)
    list_package_again(place.changed)
    sign(place.changed, place.key)


def take_an_archive_of_another_bundle(place: Place, rng: random.Random) -> None:
    """Take an archive with another artifact, and sign the package again with the right key."""
    name = rng.choice(["box.zip", "box.tar"])
    shutil.copy(place.other / name, place.changed / name)
    list_package_again(place.changed)
    sign(place.changed, place.key)


def take_the_signature_of_another_package(place: Place, rng: random.Random) -> None:
    name = rng.choice([SIGNATURE, f"bundle/{SIGNATURE}"])
    shutil.copy(place.other / name, place.changed / name)


def take_the_signature_of_the_bundle(place: Place, rng: random.Random) -> None:
    shutil.copy(place.changed / "bundle" / SIGNATURE, place.changed / SIGNATURE)


GENERAL: tuple[Change, ...] = (
    bundles.flip_a_bit, bundles.insert, bundles.cut, bundles.remove, bundles.remove_a_folder, bundles.add,
    bundles.add_a_folder, bundles.add_what_is_no_file, bundles.rename, bundles.rename_a_folder, bundles.link_a_file,
    bundles.link_a_folder, bundles.add_a_link, bundles.give_a_second_name, bundles.permit, bundles.swap_within,
    bundles.put_a_folder_in_the_place_of_a_file,
)  # fmt: skip
CHANGES: tuple[Change, ...] = (
    *GENERAL, bundles.swap_with_another_signed_bundle, change_a_member, change_and_strip,
    change_and_sign_with_another_key, take_a_document_of_another_bundle, take_an_archive_of_another_bundle,
    take_the_signature_of_another_package, take_the_signature_of_the_bundle,
)  # fmt: skip


def refuse(place: Place, number: int) -> None:
    """Make the change of that number, and check that it is refused."""
    rng = random.Random(number)
    change = CHANGES[number % len(CHANGES)]
    place.renew()
    path = change(place, rng)
    with pytest.raises(InputError) as caught:
        verify_package(place.changed, place.accepted)
        pytest.fail(f"change {number}, {change.__name__} of {path}, was not noticed")
    assert caught.value.hint and caught.value.exit_code in (1, 2), caught.value
    if change not in GENERAL or (path is not None and path.name in (SIGNATURE, bundles.SIGNED[1])):
        return
    # Without a key, damage is noticed all the same, but for the spelling of signatures.
    with pytest.raises(InputError):
        verify_package(place.changed)
        pytest.fail(f"change {number}, {change.__name__} of {path}, was not noticed without a key")


def test_an_unchanged_copy_is_accepted(place: Place) -> None:
    place.renew()
    assert verify_package(place.changed, place.accepted).bundle.signed_by
    assert verify_package(place.other, place.accepted).signed_by


@pytest.mark.parametrize("first", range(0, 200, len(CHANGES)))
def test_random_changes_are_refused(place: Place, first: int) -> None:
    for number in range(first, first + len(CHANGES)):
        refuse(place, number)


@pytest.mark.long
def test_two_thousand_random_changes_are_refused(place: Place) -> None:
    for number in range(1000, 3000):
        refuse(place, number)


def test_an_unsigned_bundle_in_a_signed_package(_finished: Finished, tmp_path: Path) -> None:
    """The package's signer vouches for it. A certificate of it that was changed is noticed without its signature."""
    key = make_key(tmp_path)
    bundle = certified(Path(shutil.copytree(_finished.bundle, tmp_path / "bundle")), None)
    packed = pack(bundle, Order(BOXED, tmp_path / "out", key=read_signing_key(key))).path
    verified = verify_package(packed, public(key))
    assert verified.signed_by and verified.bundle.signed_by is None and verified.bundle.certificate
    path = packed / "bundle" / "certificate.json"
    path.write_text(path.read_text().replace('"a processor"', '"another one"'))
    list_package_again(packed)
    sign(packed, key)
    with pytest.raises(InputError, match="says another bundle"):
        verify_package(packed, public(key))
