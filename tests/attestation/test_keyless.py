"""Keyless signatures: made with the client of Sigstore against an instance on this machine, and verified offline."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keyless import read_keyless, read_keyless_key
from edgehone.attestation.keys import Keyless, VerificationKey
from edgehone.attestation.verify import verify_bundle
from edgehone.attestation.write import certify_bundle
from edgehone.cli.main import main
from edgehone.core.errors import EdgehoneError, InputError, SetupError
from tests.attestation.instance import PROVIDER, WHO, Instance, instance, token
from tests.attestation.signed import EVIDENCE, certificate_of, certified, make_key, public
from tests.finished import Finished

SIGNED = ("signature.sigstore.json", "verdicts.sigstore.json")


class Place:
    """A bundle that is certified without a signature, an instance, its configuration, and a token."""

    def __init__(self, bundle: Path, served: Instance) -> None:
        self.bundle, self.served = bundle, served
        self.config = _written(bundle.parent / "config.json", served.config())
        self.token = _written(bundle.parent / "token", token())

    def accepted(self, identity: str = WHO, provider: str = PROVIDER) -> VerificationKey:
        return VerificationKey(keyless=read_keyless(identity, provider, self.config))

    def sign(self) -> None:
        key = read_keyless_key(self.token, self.config)
        certify_bundle(self.bundle, certificate_of(self.bundle), EVIDENCE, key)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def served() -> Iterator[Instance]:
    """An instance of Sigstore."""
    with instance() as one:
        yield one


@pytest.fixture
def place(_finished: Finished, tmp_path: Path, served: Instance) -> Place:
    """A certified bundle that nobody signed yet."""
    served.fails = 0
    return Place(certified(Path(shutil.copytree(_finished.bundle, tmp_path / "bundle")), None), served)


@pytest.fixture
def signed(place: Place) -> Place:
    """The same, signed keyless."""
    place.sign()
    return place


def refused(call: Callable[[], object], what: str, kind: type[EdgehoneError] = InputError) -> None:
    with pytest.raises(kind, match=what) as caught:
        call()
    assert caught.value.hint


def test_a_keyless_signature_is_verified_by_identity(signed: Place) -> None:
    assert verify_bundle(signed.bundle, signed.accepted()).signed_by == f"{WHO}, by {PROVIDER}"
    without = verify_bundle(signed.bundle)
    assert without.is_signed and without.signed_by is None
    logged = [json.loads(one) for one in signed.served.entries]
    assert len(logged) >= 2 and {one["kind"] for one in logged} == {"dsse"}


def test_whom_nobody_named_is_refused(signed: Place, tmp_path: Path) -> None:
    for who in (
        signed.accepted("eve@example.com"),
        signed.accepted(WHO.upper()),
        signed.accepted(WHO, "https://accounts.example.com.evil.example"),
        signed.accepted(PROVIDER, WHO),
    ):
        refused(partial(verify_bundle, signed.bundle, who), "is not one of", NotVerified)
    other = public(make_key(tmp_path))
    refused(lambda: verify_bundle(signed.bundle, other), "was signed keyless", NotVerified)
    with instance() as foreign:
        config = foreign.config()
    for named in (config, None):  # another instance, and the public one, whose roots are in the package
        accepted = VerificationKey(keyless=Keyless(WHO, PROVIDER, named))
        refused(partial(verify_bundle, signed.bundle, accepted), "is not one of", NotVerified)


def test_a_bundle_signed_with_a_key_has_no_identity(place: Place, tmp_path: Path) -> None:
    certified(place.bundle, make_key(tmp_path))
    refused(lambda: verify_bundle(place.bundle, place.accepted()), "with a bare key", NotVerified)


def test_a_verdict_of_another_identity_is_refused(signed: Place, tmp_path: Path) -> None:
    other = Path(shutil.copytree(signed.bundle, tmp_path / "other" / "bundle"))
    _written(signed.token, token("eve@example.com"))
    signed.sign()
    shutil.copy(other / "verdicts.sigstore.json", signed.bundle)
    with pytest.raises(NotVerified, match="was changed"):
        verify_bundle(signed.bundle, signed.accepted("eve@example.com"))


@pytest.mark.parametrize("name", SIGNED)
def test_no_bit_of_a_signature_can_be_changed(signed: Place, name: str) -> None:
    path, accepted, rng = signed.bundle / name, signed.accepted(), random.Random(1)
    content = path.read_bytes()
    for _ in range(120):
        spoiled = bytearray(content)
        spoiled[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(spoiled)
        with pytest.raises(NotVerified):
            verify_bundle(signed.bundle, accepted)
            pytest.fail("a changed bit does not count")
    path.write_bytes(content)
    assert verify_bundle(signed.bundle, accepted).signed_by


def test_what_the_log_says_counts(signed: Place) -> None:
    path = signed.bundle / "signature.sigstore.json"
    content = json.loads(path.read_text())
    (entry,) = content["verificationMaterial"]["tlogEntries"]
    for change in (
        {"integratedTime": str(int(entry["integratedTime"]) + 1)},
        {"integratedTime": str(int(entry["integratedTime"]) + 9000)},
        {"logIndex": "77"},
        {"kindVersion": {"kind": "dsse", "version": "0.0.2"}},
        {"inclusionPromise": None},
        {"inclusionProof": None},
    ):
        changed = {**entry, **change}
        content["verificationMaterial"]["tlogEntries"] = [{k: v for k, v in changed.items() if v is not None}]
        path.write_text(json.dumps(content, separators=(",", ":"), ensure_ascii=False))
        with pytest.raises(NotVerified):
            verify_bundle(signed.bundle, signed.accepted())
            pytest.fail(str(change))


def test_the_command_line(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--trust-config", str(place.config)]
    words = ["certify", str(place.bundle), "--keyless", "--identity-token", str(place.token), *config]
    assert main(words) == 4  # on conditions, since no check was made
    assert "certificate.html, signed" in capsys.readouterr().out
    who = ["--identity", WHO, "--identity-provider", PROVIDER, *config]
    assert main(["verify", str(place.bundle), *who]) == 0
    assert f"signed by    {WHO}" in capsys.readouterr().out
    assert main(["verify", str(place.bundle), "--identity", "eve@example.com", *who[2:]]) == 1
    for wrong in (who[:2], who[2:], config, ["--identity", " ", *who[2:]]):
        assert main(["verify", str(place.bundle), *wrong]) == 2
    for wrong in (words[:2] + words[3:], [*words, "--repeat"], [*words, "--key", "x"]):
        assert main(wrong) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_model_signing_verifies_it_too(signed: Place) -> None:
    words = ["verify", "sigstore", str(signed.bundle), "--signature", str(signed.bundle / SIGNED[0])]
    words += ["--identity", WHO, "--identity_provider", PROVIDER, "--no-ignore-git-paths"]
    words += ["--trust_config", str(signed.config)]
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_tokens_that_cannot_be_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GITHUB_ACTIONS", "CIRCLECI", "GITLAB_CI", "BUILDKITE", "SIGSTORE_ID_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    refused(lambda: read_keyless_key(None, place.config), "no identity token")
    refused(lambda: read_keyless_key(place.bundle / "none", place.config), "cannot be read")
    for text, what in {
        "": "no identity token",
        "not a token": "cannot be used",
        token(seconds=-60): "cannot be used",
    }.items():
        _written(place.token, text)
        refused(lambda: read_keyless_key(place.token, place.config), what)
    _written(place.token, token())
    place.token.chmod(0o644)
    refused(lambda: read_keyless_key(place.token, place.config), "can be read by others")
    _written(place.config, '{"mediaType": "x"}')
    place.token.chmod(0o600)
    refused(lambda: read_keyless_key(place.token, place.config), "trust configuration cannot be read")


@pytest.mark.parametrize("trouble", ["no network", "refuses", "no such log", "a forged token"])
def test_without_a_signature_the_bundle_stays_as_it_was(place: Place, trouble: str) -> None:
    before = {path.name: path.read_bytes() for path in place.bundle.iterdir() if path.is_file()}
    if trouble == "no network":
        _written(place.config, place.config.read_text().replace(place.served.url, "http://127.0.0.1:9"))
    elif trouble == "a forged token":
        _written(place.token, token(secret="of somebody else, and also long enough for it"))
    else:
        place.served.fails = 503 if trouble == "refuses" else 404
    refused(place.sign, "no keyless signature could be had", SetupError)
    assert {path.name: path.read_bytes() for path in place.bundle.iterdir() if path.is_file()} == before
    assert not list(place.bundle.parent.glob(".*certified*"))


def test_without_the_package_the_error_says_how_to_install_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sigstore", None)
    for read in (lambda: read_keyless_key(place.token, None), lambda: read_keyless(WHO, PROVIDER, None)):
        with pytest.raises(SetupError, match="sigstore") as caught:
            read()
        assert caught.value.hint == 'pip install "edgehone[keyless]"'
