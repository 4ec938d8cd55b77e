"""Android packages: alignment, signatures and manifest, as the Android SDK's programs and androguard read them."""

from __future__ import annotations

import mmap
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.attestation.keys import read_signing_key
from edgehone.bundle.schema import BILL_OF_MATERIALS, CERTIFICATE, MANIFEST, SIGNATURE, VERDICTS
from edgehone.core.errors import InputError
from edgehone.package import registry
from edgehone.package.canaries import Answering, check_answers
from edgehone.package.conform import conform
from edgehone.package.targets.android.aligned_zip import PAGE, Member, offset_of, write_zip
from edgehone.package.targets.android.model import slug
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, Packed, pack
from tests.attestation.signed import certified, make_key, public
from tests.certify.subjects import with_manifest
from tests.package.mobile import bundle_with, contents, needs, outcomes, weights

MODEL = weights(100_003)
ASSET = "assets/models/null_model/model.gguf"


@pytest.fixture
def gguf(spoiled: Path) -> Path:
    """A bundle with a file that stands for a GGUF."""
    return bundle_with(spoiled, "llamacpp", {"model.gguf": MODEL}, kv_cache="q8_0")


def packed(bundle: Path, out: Path, **options: str) -> Packed:
    return pack(bundle, Order(registry.load("android"), out, options))


def test_the_sdk_s_programs_accept_both_archives(gguf: Path, tmp_path: Path) -> None:
    needs("apksigner", "aapt", "zipalign")
    found = packed(gguf, tmp_path / "out")
    assert outcomes(found) == {
        "apksigner verify": "passed",
        "aapt dump badging": "passed",
        "zipalign of the APK": "passed",
        "zipalign of the AAR": "passed",
        "llama.cpp runs the model in place": "skipped",  # the bundle has no canaries
    }
    verified = verify_package(tmp_path / "out").package
    assert {one.at for one in verified.carried if one.bundle == "artifact/model.gguf"} == {
        f"null_model.apk!{ASSET}",
        f"null_model.aar!{ASSET}",
    }


@pytest.mark.parametrize("layout", ["apk", "asset-pack"])
def test_the_tokenizer_of_the_original_is_carried_on_request(gguf: Path, tmp_path: Path, layout: str) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json of its original"):
        packed(gguf, tmp_path / "out", tokenizer="original", layout=layout)
    (gguf / "tokenizer").mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (gguf / "tokenizer" / name).write_text(f'{{"name": "{name}"}}')
    with_manifest(gguf, tokenizer="original")
    found = packed(gguf, tmp_path / "out", tokenizer="original", layout=layout)
    carried = {one.bundle for one in verify_package(found.path).package.carried}
    assert {"tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"} <= carried
    assert any("which is carried" in one for one in found.package.notes)
    plain = packed(gguf, tmp_path / "plain", layout=layout)
    assert not any("tokenizer" in one.bundle for one in plain.package.carried)
    assert any("--set tokenizer=original" in one for one in plain.package.notes)


@pytest.mark.parametrize("kind", ["apk", "aar"])
def test_the_model_is_mapped_from_the_archive(gguf: Path, tmp_path: Path, kind: str) -> None:
    packed(gguf, tmp_path / "out")
    archive = tmp_path / "out" / f"null_model.{kind}"
    offset = offset_of(archive, ASSET)
    assert offset % 16384 == 0
    with archive.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), len(MODEL), prot=mmap.PROT_READ, offset=offset)
        assert mapped[:] == MODEL
        mapped.close()
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert b'"kv_cache": "q8_0"' in opened.read("assets/models/null_model/settings.json")
        assert "assets/models/null_model/bundle/manifest.json" in opened.namelist()


@pytest.mark.parametrize("name", ["m", "model.gguf", "ä" * 50])
@pytest.mark.parametrize("before", [b"", b"12345", weights(16_300), weights(40_000)], ids=len)
def test_entries_are_aligned_after_anything(tmp_path: Path, name: str, before: bytes) -> None:
    write_zip(tmp_path / "a.zip", [Member("before", before), Member(name, MODEL, PAGE)], 1_800_000_000)
    assert offset_of(tmp_path / "a.zip", name) % PAGE == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert (opened.read("before"), opened.read(name)) == (before, MODEL)


def test_the_same_bundle_gives_the_same_bytes(gguf: Path, tmp_path: Path) -> None:
    first, second = (packed(gguf, tmp_path / name).path for name in ("one", "two"))
    assert contents(first) == contents(second)


def test_a_changed_byte_is_found_by_apksigner(gguf: Path, tmp_path: Path) -> None:
    needs("apksigner")
    packed(gguf, tmp_path / "out")
    apk, changed = tmp_path / "out" / "null_model.apk", tmp_path / "changed.apk"
    content = apk.read_bytes()
    for at in (40, offset_of(apk, ASSET) + 5000, content.rfind(b"PK\1\2") + 12):
        changed.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        done = subprocess.run(["apksigner", "verify", changed], capture_output=True, check=False)
        assert done.returncode != 0, at


def test_the_evidence_of_a_certified_bundle_is_beside_the_model(gguf: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path)
    order = Order(registry.load("android"), tmp_path / "out", key=read_signing_key(key))
    found = pack(certified(gguf, key), order)
    with zipfile.ZipFile(found.path / "null_model.apk") as opened:
        for name in (CERTIFICATE, BILL_OF_MATERIALS, VERDICTS, SIGNATURE, MANIFEST):
            packaged = opened.read(f"assets/models/null_model/bundle/{name}")
            assert packaged == (gguf / name).read_bytes() == (found.path / "bundle" / name).read_bytes()
    carried = {one.bundle for one in verify_package(found.path, public(key)).package.carried}
    assert {CERTIFICATE, BILL_OF_MATERIALS, VERDICTS, MANIFEST} <= carried


@pytest.mark.parametrize("kind", ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256"])
def test_a_key_of_one_s_own_signs(gguf: Path, tmp_path: Path, kind: str) -> None:
    options = own_key(tmp_path, kind)
    found = packed(gguf, tmp_path / "out", **options)
    again = packed(gguf, tmp_path / "again", **options)
    assert contents(found.path) == contents(again.path)
    assert not any(name.startswith("signing") for name in found.package.options)  # paths of this machine
    assert not any("test key" in one for one in found.package.notes)
    needs("apksigner")
    done = subprocess.run(
        ["apksigner", "verify", "--print-certs", found.path / "null_model.apk"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (digest,) = (line.split()[-1] for line in done.stdout.splitlines() if "certificate SHA-256" in line)
    assert "CN=Somebody" in done.stdout
    assert digest in (found.path / "README.md").read_text()


def own_key(folder: Path, kind: str) -> dict[str, str]:
    """Write a key and a certificate of it, and return the options that name them."""
    folder.mkdir(exist_ok=True)
    key, certificate = folder / "apk.key", folder / "apk.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", *kind.split(), "-nodes", "-days", "9", "-subj", "/CN=Somebody",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return {"signing_key": str(key), "signing_certificate": str(certificate)}


def test_without_a_key_the_package_says_that_everybody_has_it(gguf: Path, tmp_path: Path) -> None:
    found = packed(gguf, tmp_path / "out")
    assert any("public test key" in one for one in found.package.notes)
    assert "public test key" in (found.path / "README.md").read_text()


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_figures_of_another_processor_are_named(gguf: Path, tmp_path: Path, architecture: str) -> None:
    device = {**edgehone.read(gguf).manifest.device, "architecture": architecture}
    found = packed(with_manifest(gguf, device=device), tmp_path / "out")
    assert any("prove PACKAGE --on arm64" in one for one in found.package.notes) == (architecture == "x86_64")


def test_what_signs_is_judged(gguf: Path, tmp_path: Path) -> None:
    options = own_key(tmp_path, "rsa:2048")
    other = own_key(tmp_path / "other", "rsa:2048")
    for given, reason in (
        ({"signing_key": options["signing_key"]}, "signing_certificate is missing"),
        ({**options, "signing_key": "nowhere.pem"}, "nowhere.pem"),
        ({**options, "signing_key": options["signing_certificate"]}, "cannot be read"),
        ({**options, "signing_key": other["signing_key"]}, "is not that of the key"),
        (own_key(tmp_path / "weak", "rsa:1024"), "2048 bits"),
    ):
        with pytest.raises(InputError, match=reason):
            packed(gguf, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_androguard_reads_the_manifest(gguf: Path, tmp_path: Path) -> None:
    from androguard.core.apk import APK

    packed(gguf, tmp_path / "out", application_id="org.example.tiny", version_name="1.2.3")
    apk: Any = APK(str(tmp_path / "out" / "null_model.apk"))
    assert apk.is_valid_APK() and apk.is_signed_v2() and apk.is_signed_v3()
    assert (apk.get_package(), apk.get_androidversion_name()) == ("org.example.tiny", "1.2.3")
    assert (apk.get_min_sdk_version(), apk.get_target_sdk_version()) == ("28", "36")
    assert apk.get_app_name() == "null-model"
    assert apk.get_attribute_value("application", "hasCode") == "false"
    assert apk.get_permissions() == []
    assert "public test key" in apk.get_certificates_v2()[0].subject.human_friendly


def test_a_model_over_the_budget_goes_into_an_asset_pack(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="over the budget") as refused:
        pack(gguf, Order(registry.load("android"), tmp_path / "out", budget=50_000))
    assert "layout=asset-pack" in (refused.value.hint or "")
    found = packed(gguf, tmp_path / "out", layout="asset-pack")
    pack_folder = found.path / "null_model"
    assert (pack_folder / "src/main/assets/models/null_model/model.gguf").read_bytes() == MODEL
    assert 'packName.set("null_model")' in (pack_folder / "build.gradle.kts").read_text()
    location = found.path / "sample/app/src/main/location"
    assert "AssetPackManagerFactory" in "".join(one.read_text() for one in location.rglob("*.kt"))
    assert outcomes(found)["sha256sum of the model"] == "passed"
    assert found.package.fillings[0].limit == 1_500_000_000
    assert verify_package(found.path).package.carried[0].at.startswith("null_model/src/main/assets/")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"application_id": "tiny"}, "application_id"),
        ({"application_id": "org.9.tiny"}, "application_id"),
        ({"version_name": 'a"b'}, "version_name"),
        ({"layout": "aab"}, "layout"),
        ({"nam": "x"}, "nam"),
    ],
)
def test_wrong_options(gguf: Path, tmp_path: Path, options: dict[str, str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        packed(gguf, tmp_path / "out", **options)
    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.parametrize("layout", ["apk", "asset-pack"])
def test_the_target_conforms(gguf: Path, layout: str) -> None:
    found = conform(registry.load("android"), gguf, options={"layout": layout})
    assert [f"{one.check}: {one.seen}" for one in found if one.state == "fail"] == []


def test_what_llama_cpp_does_not_run(spoiled: Path, tmp_path: Path) -> None:
    for backend, files, reason in (
        ("mlx", {"model.safetensors": b"1"}, "mlx's"),
        ("llamacpp", {"model.gguf": b"1", "mmproj.gguf": b"2"}, "several GGUF files"),
        ("llamacpp", {"model.gguf": b"1", "draft.gguf": b"2"}, "second model that drafts tokens"),
    ):
        with pytest.raises(InputError, match=reason):
            packed(bundle_with(spoiled, backend, files), tmp_path / "out")


def test_names() -> None:
    assert slug("Gemma-3 270M.gguf") == "gemma_3_270m"
    assert slug("3B") == "model_3b"
    assert slug("…") == "model"


@pytest.mark.real
@pytest.mark.xdist_group("engines")
def test_llama_cpp_runs_the_model_from_inside_the_apk(
    bundle_of: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    found = packed(bundle_of("llamacpp"), tmp_path / "apk")
    assert outcomes(found)["llama.cpp runs the model in place"] == "passed"
    # The check can fail: at another offset there is no model.
    (apk,) = found.path.glob("*.apk")
    call = "edgehone.package.targets.android.in_place:answers"
    assert check_answers("", found.path, Answering(call, {"package": apk}, {"offset": 4})).outcome == "failed"
