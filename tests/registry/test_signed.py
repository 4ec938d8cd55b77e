"""Signatures at a push and a pull: with --key, only what the key's owner has signed comes in or goes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.cli.main import main
from edgehone.registry.listing import versions
from edgehone.registry.names import parse
from edgehone.registry.pull import pull
from edgehone.registry.push import push
from edgehone.registry.session import Registry
from edgehone.registry.verify import verify
from tests.attestation.signed import certified, make_key
from tests.registry.bundles import content


@pytest.fixture
def signed(bundle: Path, tmp_path: Path) -> Path:
    """A certified bundle, signed with signing.key."""
    return certified(bundle, make_key(tmp_path))


def test_a_signed_bundle_comes_back_signed(registry: Registry, signed: Path, tmp_path: Path) -> None:
    key = tmp_path / "signing.pub"
    pushed = push(registry, signed, name="demo", by="ann", key=key).version
    assert pushed.signed_by and pushed.facts["is_signed"]
    pull(registry, parse("demo"), tmp_path / "out", key=key)
    assert content(tmp_path / "out") == content(signed)


def test_a_signature_checked_later_is_recorded(registry: Registry, signed: Path, tmp_path: Path) -> None:
    assert push(registry, signed, name="demo", by="ann").version.signed_by is None
    later = push(registry, signed, name="demo", by="bob", key=tmp_path / "signing.pub")
    assert not later.new and later.version.signed_by and later.version.number == 1
    assert verify(registry).problems == ()


def test_another_key_an_unsigned_and_a_changed_bundle_are_refused(
    registry: Registry, signed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--registry", str(registry.blobs.folder)]
    other = make_key(tmp_path, "other").with_suffix(".pub")
    assert main(["registry", "push", str(signed), "--key", str(other), *where]) == 2
    assert "next:" in capsys.readouterr().err and versions(registry) == []
    assert main(["registry", "push", str(signed), *where]) == 0
    out = ["--out", str(tmp_path / "out")]
    assert main(["registry", "pull", "null-model", "--key", str(other), *out, *where]) == 2
    assert not (tmp_path / "out").exists()
    assert main(["registry", "pull", "null-model", "--key", str(tmp_path / "lost"), *out, *where]) == 2
    (signed / "certificate.html").write_text("another page")
    assert main(["registry", "push", str(signed), *where]) == 2
    assert "certificate.html was changed" in capsys.readouterr().err
    (signed / "signature.sigstore.json").unlink()
    assert main(["registry", "push", str(signed), "--key", str(tmp_path / "signing.pub"), *where]) == 2


def test_the_help_of_the_registry_loads_no_database() -> None:
    script = "import sys; from edgehone.cli.main import main\n"
    script += "try:\n main(['registry', '--help'])\nexcept SystemExit: pass\n"
    script += "print([name for name in ('sqlalchemy', 'alembic', 'httpx', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    script = "import sys; sys.modules['sqlalchemy'] = None\nfrom edgehone.cli.main import main\n"
    script += f"sys.exit(main(['registry', 'list', '--json', '--registry', {str(tmp_path)!r}]))"
    env = {**os.environ, "EDGEHONE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 2, done.stderr
    assert "edgehone[registry]" in json.loads(done.stdout)["hint"]
