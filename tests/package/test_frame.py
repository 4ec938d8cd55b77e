"""Making packages: what is checked before, and what a package consists of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import read_signing_key
from edgehone.attestation.verify import verify_bundle
from edgehone.bundle.schema import MANIFEST, SIGNATURE
from edgehone.cli.main import main
from edgehone.core.errors import InputError, SetupError
from edgehone.package import registry
from edgehone.package.document import read_package
from edgehone.package.target import Tool
from edgehone.package.verify import verify_package
from edgehone.package.write import pack
from tests.attestation.signed import certified, make_key, public
from tests.finished import Finished
from tests.package import boxed
from tests.package.boxes import content, order


def test_a_package_is_the_same_each_time_and_carries_the_documents(
    finished: Finished, tmp_path: Path
) -> None:
    bundle = certified(Path(shutil.copytree(finished.bundle, tmp_path / "bundle")), None)
    first = pack(bundle, order(tmp_path / "first"))
    elsewhere = Path(shutil.copytree(bundle, tmp_path / "other place" / "b"))
    pack(elsewhere, order(tmp_path / "other place" / "second"))
    assert content(first.path) == content(tmp_path / "other place" / "second")
    package = read_package(first.path)
    assert package == replace(first.package, digest=package.digest)
    assert package.bundle == verify_bundle(bundle).digest and package.approval == "yes"
    for name in ("manifest.json", "decision.json", "certificate.json", "bom.cdx.json", "notices/LICENSE"):
        if (bundle / name).exists():
            assert (first.path / "bundle" / name).read_bytes() == (bundle / name).read_bytes()
    readme = (first.path / "README.md").read_text()
    assert readme.startswith("# A box\n") and package.bundle in readme and str(tmp_path) not in readme
    assert verify_package(first.path).bundle.certificate
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"bundle", "first", "other place"}


def test_a_signed_package_is_verified_with_its_key_only(finished: Finished, tmp_path: Path) -> None:
    key, foreign = make_key(tmp_path), make_key(tmp_path, "foreign")
    bundle = Path(shutil.copytree(finished.bundle, tmp_path / "bundle"))
    packed = pack(bundle, replace(order(tmp_path / "out"), key=read_signing_key(key)))
    verified = verify_package(packed.path, public(key))
    assert verified.signed_by and not verified.bundle.is_signed
    with pytest.raises(NotVerified, match="signed with another key"):
        verify_package(packed.path, public(foreign))
    # A bundle that somebody else signed is refused, also in a package that the right key signed.
    certified(bundle, foreign)
    packed = pack(bundle, replace(order(tmp_path / "out"), key=read_signing_key(key)))
    with pytest.raises(NotVerified, match=r"documents of its bundle.*signed with another key"):
        verify_package(packed.path, public(key))
    # A bundle's signature says nothing of what was put around it.
    packed = pack(bundle, order(tmp_path / "out"))
    with pytest.raises(NotVerified, match="the package is not signed"):
        verify_package(packed.path, public(foreign))
    with pytest.raises(NotVerified, match="signed with another key"):
        pack(bundle, replace(order(tmp_path / "other"), trusted=public(key)))
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("registered")
def test_who_cannot_package_is_told_what_can_be_done(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(finished.bundle)
    assert main(["package", bundle, "--for", "ios", "--out", str(tmp_path / "out")]) == 2
    assert f"edgehone package {bundle} --for boxed" in capsys.readouterr().err
    assert main(["prove", bundle, "--on", "arm64"]) == 2
    assert f"{bundle} is a bundle, not a package" in capsys.readouterr().err
    assert main(["package", "--list"]) == 0
    assert "--set colour=…  colour of the box (red or green; default: red)" in capsys.readouterr().out


def test_model_signing_accepts_the_signature(finished: Finished, tmp_path: Path) -> None:
    key = make_key(tmp_path)
    packed = pack(finished.bundle, replace(order(tmp_path / "out"), key=read_signing_key(key))).path
    words = [
        *(sys.executable, "-m", "model_signing", "verify", "key", str(packed), "--no-ignore-git-paths"),
        *("--signature", str(packed / SIGNATURE), "--public_key", str(key.with_suffix(".pub"))),
    ]
    accepted = subprocess.run(words, capture_output=True, text=True, check=False)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    (packed / "README.md").write_text("another")
    assert subprocess.run(words, capture_output=True, check=False).returncode == 1


def test_an_unapproved_bundle_is_packaged_only_when_asked(spoiled: Path, tmp_path: Path) -> None:
    certified(spoiled, None, "no", ("quality was not shown",))
    out = tmp_path / "out"
    with pytest.raises(InputError, match="quality was not shown") as caught:
        pack(spoiled, order(out))
    assert "--unapproved" in str(caught.value.hint) and not out.exists()
    packed = pack(spoiled, replace(order(out), unapproved=True))
    assert packed.package.approval == "no"
    assert any("quality was not shown" in note for note in packed.package.notes)
    assert "not approved" in (out / "README.md").read_text()
    assert main(["verify", str(out), "--approved"]) == 1


def test_a_condition_of_the_approval_is_in_the_package(spoiled: Path, tmp_path: Path) -> None:
    certified(spoiled, None, "conditional", ("somebody watches it",))
    packed = pack(spoiled, order(tmp_path / "out"))
    assert packed.package.approval == "conditional"
    assert "somebody watches it" in (tmp_path / "out" / "README.md").read_text()


def test_a_bundle_that_was_changed_is_refused_as_by_verify(spoiled: Path, tmp_path: Path) -> None:
    weights = next((spoiled / "artifact").iterdir())
    weights.write_bytes(b"another")
    with pytest.raises(NotVerified, match=f"{weights.name} was changed") as caught:
        pack(spoiled, order(tmp_path / "out"))
    assert caught.value.exit_code == 1 == main(["verify", str(spoiled)])


def test_a_bundle_that_changes_meanwhile_is_refused(spoiled: Path, tmp_path: Path) -> None:
    with pytest.raises(NotVerified, match="changed"):
        pack(spoiled, order(tmp_path / "out", fault="bundle changes"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("fault", "told"),
    [("converted", "is not the bundle's"), ("two entries", "2 entries"), ("link", "symbolic link")],
)
def test_what_a_target_must_not_do_is_noticed(
    finished: Finished, tmp_path: Path, fault: str, told: str
) -> None:
    with pytest.raises(SetupError, match=told):
        pack(finished.bundle, order(tmp_path / "out", fault=fault))
    assert not list(tmp_path.iterdir())


def test_a_failed_check_of_an_independent_tool_stops_the_package(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="does not pass lid: it does not close"):
        pack(finished.bundle, order(tmp_path / "out", name="fails"))
    assert not list(tmp_path.iterdir())


def test_a_missing_tool_is_named_with_its_package(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = (Tool("no-such-aapt", "aapt"), Tool("no-such-signer", "apksigner"), Tool("no-such", "npm i such"))
    monkeypatch.setattr(boxed, "TOOLS", tools)
    with pytest.raises(SetupError, match="no-such-aapt, no-such-signer, no-such, which") as caught:
        pack(finished.bundle, order(tmp_path / "out"))
    assert caught.value.hint == "apt install aapt apksigner; npm i such" and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [({"colours": "red"}, "did you mean 'colour'"), ({"colour": "geen"}, "did you mean 'green'")],
)
def test_a_wrong_option_is_refused(
    finished: Finished, tmp_path: Path, options: dict[str, str], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        pack(finished.bundle, order(tmp_path / "out", **options))


def test_an_unknown_target_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'desktop'"):
        registry.load("desktp")


def test_times_before_zip_archives_and_times_that_are_none(spoiled: Path, tmp_path: Path) -> None:
    from edgehone.bundle.read import read
    from edgehone.package.write import time_of

    bundle = read(spoiled)

    def created(text: str) -> int:
        return time_of(replace(bundle, manifest=replace(bundle.manifest, created=text)))

    assert created("2026-11-28T14:03:00+00:00") == created("2026-11-28T14:03:00") == 1795874580
    assert created("1970-01-01T00:00:00+00:00") == 315532800
    with pytest.raises(InputError, match="which is no time"):
        created("yesterday")


def test_the_command_makes_and_verifies_a_package(
    finished: Finished, registered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert (
        main(
            [
                "package",
                str(finished.bundle),
                "--for",
                "boxed",
                "--out",
                out,
                "--set",
                "colour=green",
                "--json",
            ]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["package"]["options"] == {"colour": "green", "name": "box"}
    assert [one["outcome"] for one in told["checks"]] == ["passed", "skipped"]
    assert main(["verify", out]) == 0
    shown = capsys.readouterr().out
    assert "boxed" in shown and "the package is not signed" in shown
    with zipfile.ZipFile(tmp_path / "out" / "box.zip", "a") as archive:
        archive.writestr("more", "more")
    assert main(["verify", out]) == 1
    assert "box.zip was changed" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out" / "bundle")
    assert main(["verify", out]) == 1
    assert main(["package", "--list"]) == 0 and "boxed: a ZIP" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--for", "bxed"], "did you mean 'boxed'"),
        (["--for", "boxed", "--set", "colour"], "--set is 'colour'"),
        (["--for", "boxed", "--set", "colour=red", "--set", "colour=green"], "--set gives colour twice"),
        (["--for", "boxed", "--budget", "nonsense"], "--budget is 'nonsense'"),
        (["--for", "boxed", "--budget", ""], "--budget is ''"),
        ([], "--for TARGET is missing"),
    ],
)
def test_a_wrong_command_line_is_refused(
    finished: Finished, registered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: list[str], told: str,
) -> None:  # fmt: skip
    assert main(["package", str(finished.bundle), "--out", str(tmp_path / "out"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_package_that_says_something_else_than_its_bundle_is_refused(
    finished: Finished, tmp_path: Path
) -> None:
    from edgehone.bundle.schema import digest_of, text_of

    pack(finished.bundle, order(tmp_path / "out"))
    path = tmp_path / "out" / "package.json"
    original = json.loads(path.read_text())

    def rewritten(**values: object) -> str:
        data = original | values
        path.write_text(text_of(data | {"digest": digest_of(data)}))
        with pytest.raises(NotVerified) as caught:
            verify_package(tmp_path / "out")
        return caught.value.message

    for name, value in {
        "approval": "yes",
        "recipe": "null/another",
        "bundle": "0" * 64,
        "artifact": "x",
    }.items():
        assert f"says another {name}" in rewritten(**{name: value})
    weights = next(one for one in original["carried"] if one["at"].startswith("box.zip"))
    assert "is not a file of the package" in rewritten(carried=[weights | {"at": "../out/box.zip!x"}])
    assert "is not the bundle's decision.json" in rewritten(carried=[weights | {"bundle": "decision.json"}])
    assert "another size" in rewritten(deliverables=[{"path": "..", "what": "everything"}])
    assert "another size" in rewritten(fillings=[one | {"bytes": 1} for one in original["fillings"]])
    path.write_text(json.dumps(original | {"notes": ["perfect"]}))
    with pytest.raises(NotVerified, match=r"package\.json was changed"):
        verify_package(tmp_path / "out")
    path.write_text("{")
    assert main(["verify", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "bundle" / MANIFEST).exists()
