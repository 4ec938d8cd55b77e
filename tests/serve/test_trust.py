"""Served bundles: what is certified must be true, and with a key nothing is served that is not signed and approved."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgehone.attestation.certificate import Approval
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import VerificationKey
from edgehone.bundle import read
from edgehone.cli.main import main
from edgehone.core.errors import JobError
from edgehone.serve.engine import LanguageEngine
from edgehone.serve.link import Link
from edgehone.serve.measured.changed import Changes
from edgehone.serve.models import read_served
from edgehone.serve.served import Limits, Served, ServedLanguage
from edgehone.serve.trust import trusted
from tests.attestation.signed import certified, make_key, public
from tests.finished import Finished
from tests.serve.server import running, wait_for
from tests.serve.test_change import KEY, change


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key, with the public one beside it."""
    return make_key(tmp_path)


@pytest.fixture
def operators(tmp_path: Path) -> Path:
    """The file with the key of the operators."""
    path = tmp_path / "operators"
    path.write_text("operator\n")
    path.chmod(0o600)
    return path


def served(bundle: Path, accepted: VerificationKey | None, told: list[str] | None = None) -> Served:
    say = told.append if told is not None else lambda text: None
    return read_served(read(bundle), "bundle", Limits(), say, accepted)


@pytest.mark.usefixtures("finished")
def test_without_a_key_a_bundle_may_be_uncertified_but_not_false(spoiled: Path, key: Path) -> None:
    assert served(spoiled, None).certificate is None
    certified(spoiled, key)
    told: list[str] = []
    found = served(spoiled, None, told)
    assert found.certificate is not None and "who signed" in " ".join(told)
    for name in ("certificate.json", "signature.sigstore.json", "verdicts.sigstore.json"):
        taken = (spoiled / name).read_bytes()
        (spoiled / name).unlink()
        with pytest.raises(NotVerified, match=f"{name} is missing"):
            served(spoiled, None)
        (spoiled / name).write_bytes(taken)
    (spoiled / "report.html").write_text("all is well")  # no file that the engine reads
    with pytest.raises(NotVerified, match=r"report\.html was changed"):
        served(spoiled, None)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("approval", "signed", "what"),
    [
        ("yes", False, "it is not signed"),
        ("no", True, "is not approved for production: too slow"),
        ("yes", True, None),
        ("conditional", True, None),
    ],
)
def test_with_a_key_a_bundle_must_be_signed_and_approved(
    spoiled: Path, key: Path, approval: Approval, signed: bool, what: str | None
) -> None:
    certified(spoiled, key if signed else None, approval, () if approval == "yes" else ("too slow",))
    told: list[str] = []
    if what:
        with pytest.raises(NotVerified, match=what):
            served(spoiled, public(key), told)
        return
    assert served(spoiled, public(key), told).certificate
    assert any("on the condition: too slow" in one for one in told) == (approval == "conditional")


@pytest.mark.usefixtures("finished")
def test_a_bundle_that_is_not_approved_warns_without_a_key(spoiled: Path) -> None:
    certified(spoiled, None, "no", ("too slow",))
    told: list[str] = []
    served(spoiled, None, told)
    assert any("not approved for production: too slow" in one for one in told)


@pytest.mark.usefixtures("finished")
def test_a_signature_alone_is_no_approval(spoiled: Path, key: Path) -> None:
    """A bundle that model-signing has signed, without a certificate."""
    words = ["sign", "key", str(spoiled), "--no-ignore-git-paths", "--private_key", str(key)]
    _model_signing(*words, "--signature", str(spoiled / "signature.sigstore.json"))
    assert trusted(spoiled, None, print)
    with pytest.raises(NotVerified, match="has no certificate"):
        trusted(spoiled, public(key), print)


def _model_signing(*words: str) -> None:
    from click.testing import CliRunner
    from model_signing._cli import main as command

    done = CliRunner().invoke(command, list(words))
    assert done.exit_code == 0, done.output


@pytest.mark.usefixtures("finished")
def test_files_that_change_while_they_are_served_are_noticed(spoiled: Path, key: Path) -> None:
    certified(spoiled, key)
    found = served(spoiled, public(key))
    found.check()
    artifact = next(path for path in (spoiled / "artifact").iterdir() if path.is_file())
    status, content = artifact.stat(), artifact.read_bytes()
    artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(artifact, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nothing had been written
    with pytest.raises(JobError, match=f"changed since it was verified: .*{artifact.name} was changed"):
        found.check()
    artifact.write_bytes(content)
    found.check()
    certified(spoiled, key)
    with pytest.raises(JobError, match="was replaced since it was verified"):
        found.check()


@pytest.mark.usefixtures("finished")
def test_files_that_change_before_the_engine_reads_them_are_noticed(
    spoiled: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certified(spoiled, key)
    found = served(spoiled, public(key))
    assert isinstance(found, ServedLanguage)
    engine, started = LanguageEngine(found, print), LanguageEngine._start

    def change_and_start(self: LanguageEngine) -> Link:
        (spoiled / "report.html").write_text(
            "all is well"
        )  # after the first look, and nothing that a canary shows
        return started(self)

    monkeypatch.setattr(LanguageEngine, "_start", change_and_start)

    async def opened() -> None:
        engine.start()
        try:
            await engine.opened()
        finally:
            await engine.end()

    with pytest.raises(JobError, match=r"changed since it was verified: .*report\.html was changed"):
        asyncio.run(opened())


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    assert main(["serve", *map(str, words), "--port", "0"]) == code
    told = capsys.readouterr()
    assert "Traceback" not in told.err and "next:" in told.err
    return told.err


@pytest.mark.usefixtures("finished")
def test_what_a_server_does_not_start_with(
    spoiled: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pub = key.with_suffix(".pub")
    assert "it is not signed" in refused(capsys, 1, spoiled, "--verify-key", pub)
    certified(spoiled, key)
    other = make_key(tmp_path, "other").with_suffix(".pub")
    assert "another key" in refused(capsys, 1, spoiled, "--verify-key", other)
    (tmp_path / "revoked").write_text(public_fingerprint(pub))
    assert "is revoked" in refused(capsys, 1, spoiled, "--verify-key", pub, "--revoked", tmp_path / "revoked")
    assert "--revoked needs" in refused(capsys, 2, spoiled, "--revoked", tmp_path / "revoked")
    assert "cannot be read" in refused(capsys, 2, spoiled, "--verify-key", tmp_path / "none")
    assert "private key" in refused(capsys, 2, spoiled, "--verify-key", key)
    (tmp_path / "serve.toml").write_text(f'verify_key = "other.pub"\n[bundles.b]\npath = "{spoiled.name}"\n')
    assert "another key" in refused(capsys, 1, "--config", tmp_path / "serve.toml")


def public_fingerprint(path: Path) -> str:
    from edgehone.attestation.keys import fingerprint, read_verification_key

    return fingerprint(read_verification_key([path]).public[0])


@pytest.mark.whole
def test_a_server_serves_certified_bundles_only(
    chatty: Path, finished: Finished, key: Path, operators: Path, tmp_path: Path
) -> None:
    plain = Path(shutil.copytree(chatty, tmp_path / "plain"))
    certified(chatty, key)
    false = Path(shutil.copytree(chatty, tmp_path / "false"))
    shutil.copy(plain / "decision.json", false / "more.json")
    words = ("--verify-key", str(key.with_suffix(".pub")), "--admin-key-file", str(operators))
    with running(chatty, *words) as server:
        told = server.client.get("/v1/models").json()["data"]
        digest = trusted(chatty, None, print)
        assert digest and [one["certificate"] for one in told] == [digest.verified.certificate_digest]
        served = server.client.get("/admin/bundles", headers=KEY).json()["bundles"]
        assert served[0]["signed_by"].startswith("key SHA256:")
        for bundle, why in ((plain, "is not signed"), (false, "more.json was added")):
            answer = change(server, bundle)
            assert answer.status_code == 400 and why in answer.text
        assert server.complete("To the ")["choices"]
        # An engine that is started again does not load what was changed meanwhile.
        artifact = next(path for path in (chatty / "artifact").iterdir() if path.is_file())
        content = artifact.read_bytes()
        artifact.write_bytes(content + b"\n")
        server.engine().kill()
        wait_for(lambda: "was changed" in server.client.get("/readyz").text)
        artifact.write_bytes(content)
        server.wait_until(True)
        assert server.complete("To the ")["choices"]


@pytest.mark.usefixtures("finished")
def test_changed_files_of_a_certified_bundle_are_said_and_counted(spoiled: Path, key: Path) -> None:
    certified(spoiled, key)
    model, said = SimpleNamespace(name="bundle", served=served(spoiled, public(key))), list[str]()
    changes = Changes([model], said.append)  # type: ignore[list-item]

    def counted() -> float:
        (metric,) = changes.collect()
        (sample,) = metric.samples
        return float(sample.value)

    asyncio.run(changes.look())
    assert counted() == 0 and not said
    before = (spoiled / "report.html").read_bytes()
    (spoiled / "report.html").write_text("all is well")
    (spoiled / "certificate.json").unlink()
    asyncio.run(changes.look())
    assert counted() == 2 and len(said) == 1 and "certificate.json, report.html" in said[0]
    asyncio.run(changes.look())
    assert len(said) == 1
    (spoiled / "report.html").write_bytes(before)
    asyncio.run(changes.look())
    assert counted() == 1 and "1 files" in said[1]
