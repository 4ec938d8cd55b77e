"""Documents of a bundle that were written to break the verification: an error by name, never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.attestation.envelope import read_sealed, seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import read_files
from edgehone.attestation.keys import read_signing_key
from edgehone.attestation.statement import signature_statement
from edgehone.attestation.verify import verify_bundle
from edgehone.core.errors import InputError
from tests.attestation.signed import certified, make_key, public
from tests.finished import Finished

ODD: tuple[Any, ...] = (
    None,
    3,
    -1.5,
    "",
    "x",
    "\ud800",
    [],
    {},
    [1],
    {"a": 1},
    True,
    10**400,
    "../../x",
    "0" * 64,
)


@pytest.fixture(scope="module")
def bundle(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle that the tests of this module share, and leave as it was."""
    folder = tmp_path_factory.mktemp("hostile")
    return certified(Path(shutil.copytree(_finished.bundle, folder / "bundle")), make_key(folder))


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value in JSON."""
    yield path
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        yield from places(value, (*path, key))


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return JSON with another value at a place."""
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = changed(data[path[0]], path[1:], value)
    return copy


def spoiled(data: Any, rng: random.Random) -> Any:
    return changed(data, rng.choice(list(places(data))), rng.choice(ODD))


NAMES = ("certificate.json", "verdicts.sigstore.json", "signature.sigstore.json", "decision.json")


@pytest.mark.parametrize("name", NAMES)
def test_odd_values_anywhere_in_a_document(bundle: Path, name: str) -> None:
    key = public(bundle.parent / "signing.key")
    written = (bundle / name).read_bytes()
    try:
        for number in range(60):
            text = json.dumps(spoiled(json.loads(written), random.Random(number)), separators=(",", ":"))
            (bundle / name).write_text(text)
            with pytest.raises(InputError):
                verify_bundle(bundle, key)
                pytest.fail(text)
    finally:
        (bundle / name).write_bytes(written)


@pytest.mark.parametrize("name", ["certificate.json", "manifest.json"])
def test_odd_values_in_a_document_that_nobody_signed(_finished: Finished, tmp_path: Path, name: str) -> None:
    bundle = certified(Path(shutil.copytree(_finished.bundle, tmp_path / "bundle")), None)
    written = json.loads((bundle / name).read_bytes())
    refused = 0
    for number in range(150):
        (bundle / name).write_text(json.dumps(spoiled(written, random.Random(number))))
        try:
            verify_bundle(bundle)
        except InputError as error:
            refused += 1
            assert error.hint
    assert refused > 50  # not all: without a signature whoever edits a text of the certificate is not noticed


def test_a_signer_cannot_break_the_verification_either(bundle: Path, tmp_path: Path) -> None:
    key = read_signing_key(bundle.parent / "signing.key")
    path = bundle / "signature.sigstore.json"
    written = path.read_bytes()
    digests = {name: one for name, one in read_files(bundle).digests.items() if name != path.name}
    statement = signature_statement("bundle", digests)
    try:
        for number in range(80):
            rng = random.Random(number)
            said = spoiled(statement, rng)
            path.write_bytes(seal(said, key))
            if said == statement or _says_the_same(said, statement):
                continue
            with pytest.raises(InputError):
                verify_bundle(bundle)
                pytest.fail(str(said))
    finally:
        path.write_bytes(written)


def _says_the_same(said: Any, statement: Any) -> bool:
    """Return whether only what is not about files differs: the bundle's name and its digest, and what is ignored."""
    try:
        return bool(
            said["_type"] == statement["_type"]
            and said["predicateType"] == statement["predicateType"]
            and said["predicate"]["resources"] == statement["predicate"]["resources"]
            and said["predicate"]["serialization"]["method"] == "files"
            and said["predicate"]["serialization"]["hash_type"] == "sha256"
        )
    except (KeyError, TypeError):
        return False


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_in_the_place_of_a_signature(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signature.sigstore.json"
        path.write_bytes(content)
        with pytest.raises(NotVerified):
            read_sealed(path)


@pytest.mark.parametrize("content", ["[" * 200_000, "9" * 10_000, '{"mediaType":' * 9_999, "\ufeff{}", "NaN"])
def test_json_that_exhausts_parsers(bundle: Path, content: str) -> None:
    for name in ("signature.sigstore.json", "verdicts.sigstore.json", "certificate.json", "manifest.json"):
        written = (bundle / name).read_bytes()
        (bundle / name).write_text(content, "utf-8")
        try:
            with pytest.raises(InputError):
                verify_bundle(bundle)
        finally:
            (bundle / name).write_bytes(written)


def test_folders_that_are_nested_deeper_than_functions(_finished: Finished, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(_finished.bundle, tmp_path / "bundle"))
    deep = first = bundle / "artifact" / "d"
    deep.mkdir()
    for _ in range(1200):
        try:
            (deep / "d").mkdir()
        except OSError:  # the longest path of this system
            break
        deep /= "d"
    (deep / "x").touch()
    try:
        with pytest.raises(NotVerified, match="was added"):
            verify_bundle(bundle)
    finally:  # what removes folders after the tests is a function that calls itself
        (deep / "x").unlink()
        while deep != first.parent:
            deep.rmdir()
            deep = deep.parent
