"""The target `embedded`: aligned GGUF files, processors, proofs, and the runner under emulation."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgehone.attestation.errors import NotVerified
from edgehone.backends.llamacpp.runner.machines import HERE, architectures, cpus, machine_of
from edgehone.cli.main import main
from edgehone.core.errors import InputError, SetupError
from edgehone.formats.gguf import read_header
from edgehone.package import registry, runner
from edgehone.package.conform import conform
from edgehone.package.document import Package
from edgehone.package.proof import read_document, uncovered
from edgehone.package.target import Proof
from edgehone.package.targets.embedded import firmware
from edgehone.package.targets.embedded.aligned import ALIGNMENT, align, data_start, differences
from edgehone.package.verify import verify_package
from edgehone.package.write import Packed
from tests.attestation.signed import make_key, public
from tests.finished import list_again
from tests.package.embedding import ARM, demo_bundle, packed, quantize

__all__ = ["demo_bundle", "packed"]  # fixtures


def write_gguf(path: Path, description: str = "") -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_description(description)
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc", ""])
    numbers = np.random.default_rng(1)
    for name, shape in (("first", (3, 33)), ("second", (64, 64)), ("third", (5,))):
        writer.add_tensor(name, numbers.random(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_aligned_tensors_are_those_of_the_source(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "source.gguf", "a model")
    align(source, tmp_path / "aligned.gguf")
    assert differences(source, tmp_path / "aligned.gguf") == []
    read = gguf.GGUFReader(tmp_path / "aligned.gguf")
    for mine, theirs in zip(read.tensors, gguf.GGUFReader(source).tensors, strict=True):
        assert mine.name == theirs.name
        assert mine.data_offset % ALIGNMENT == 0
        assert np.array_equal(mine.data, theirs.data)
    assert read.fields["general.description"].contents() == "a model"
    header = read_header(tmp_path / "aligned.gguf")
    assert data_start(tmp_path / "aligned.gguf", header) == read.tensors[0].data_offset


@pytest.mark.parametrize("what", ["metadata", "tensor"])
def test_a_changed_byte_is_a_difference(tmp_path: Path, what: str) -> None:
    source, other = write_gguf(tmp_path / "source.gguf", "some kind"), tmp_path / "aligned.gguf"
    align(source, other)
    data = bytearray(other.read_bytes())
    place = data.index(b"some kind") if what == "metadata" else gguf.GGUFReader(other).tensors[1].data_offset
    data[place] ^= 1
    other.write_bytes(data)
    assert what in " ".join(differences(source, other))


def test_grown_metadata_moves_no_block_of_tensors(tmp_path: Path) -> None:
    def blocks(description: str) -> set[bytes]:
        align(write_gguf(tmp_path / "source.gguf", description), tmp_path / "aligned.gguf")
        data = (tmp_path / "aligned.gguf").read_bytes()
        return {data[at : at + ALIGNMENT] for at in range(0, len(data), ALIGNMENT)}

    short, longer, longest = blocks("x"), blocks("x" * 33), blocks("x" * 5000)
    assert len(longer - short) == 1
    assert len(longest - short) == 2


def test_the_image_is_the_same_on_every_machine(tmp_path: Path) -> None:
    images = []
    for name, mode in (("one", 0o600), ("two", 0o664)):
        tree = tmp_path / name
        tree.mkdir()
        for file in ("model.gguf", "edgehone-runner"):
            (tree / file).write_bytes(file.encode() * 3000)
            (tree / file).chmod(mode)
        firmware._image(tree, tmp_path / f"{name}.img", 1_700_000_000, "abc")
        images.append((tmp_path / f"{name}.img").read_bytes())
    assert images[0] == images[1]
    assert (
        subprocess.run(
            ["e2fsck", "-fn", str(tmp_path / "one.img")], capture_output=True, check=False
        ).returncode
        == 0
    )


def test_every_processor_of_the_table_is_complete() -> None:
    check = (HERE / "cpu_check.c").read_text()
    for architecture in architectures():
        for cpu in cpus(architecture):
            machine = machine_of(architecture, cpu)
            assert all(f'"{feature}"' in check for feature in machine.features)
            assert runner.features_of(machine)
    with pytest.raises(InputError, match="armv9"):
        machine_of("arm64", "armv9")


def test_a_missing_emulator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgehone.package.runner.shutil.which", lambda name: None)
    monkeypatch.setattr("edgehone.package.runner.platform.machine", lambda: "riscv64")
    with pytest.raises(SetupError, match="qemu-aarch64-static") as caught:
        runner.emulator_of(ARM)
    assert "qemu-user-static" in str(caught.value.hint)


@pytest.mark.parametrize("source", ["/another/checkout/runner", str(HERE)])
def test_an_interrupted_build_of_another_checkout_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path))
    work = tmp_path / "toolchains" / "runner-arm64-armv8-a-1234567.work"
    (work / "build").mkdir(parents=True)
    (work / "unpacked").touch()
    (work / "build" / "CMakeCache.txt").write_text(f"A:STRING=1\nCMAKE_HOME_DIRECTORY:INTERNAL={source}\n")
    runner._forget_builds_of_others("runner-arm64", tmp_path / "toolchains")
    assert (work / "build").exists() == (source == str(HERE))
    assert (work / "unpacked").exists()  # the download is kept


X86 = Proof("x86_64", ("avx2", "avx512f"))
NEON = Proof("aarch64", ("neon", "dotprod"))
PI = {"title": "Raspberry Pi 5", "architecture": "aarch64", "simd": ["asimd", "asimddp", "fphp"]}


@pytest.mark.parametrize(
    ("proofs", "compiled", "device", "covered"),
    [
        ([X86], None, None, True),
        ([X86], NEON, None, False),
        ([X86, NEON], NEON, None, True),
        ([X86], Proof("x86_64", ("avx2",)), None, False),
        ([X86], None, PI, False),
        ([X86, NEON], None, PI, True),
        ([X86, NEON], None, {**PI, "simd": ["asimd"]}, False),
        ([NEON], None, {**PI, "architecture": "arm64"}, True),
    ],
)
def test_what_a_proof_covers(
    proofs: list[Proof], compiled: Proof | None, device: dict[str, object] | None, covered: bool
) -> None:
    told = uncovered(proofs, compiled, device, "./package")
    assert (told is None) == covered
    if told:
        assert re.search(r"edgehone prove ./package --on (arm64|x86-64)", told)


def test_a_device_without_dot_products_is_proven_with_the_kernels_that_it_runs() -> None:
    device = {"title": "Raspberry Pi 4", "architecture": "aarch64", "simd": ["asimd"]}
    assert "--on arm64 --cpu armv8-a" in str(uncovered([X86, NEON], None, device, "./package"))
    assert "--cpu" not in str(uncovered([X86], None, PI, "./package"))


@pytest.mark.real
@pytest.mark.long
def test_the_target_conforms(demo_bundle: Path) -> None:
    failed = [one for one in conform(registry.load("embedded"), demo_bundle) if one.state == "fail"]
    assert not failed, "\n".join(f"{one.check}: {one.seen}; required: {one.demand}" for one in failed)


def served(emulator: str, program: Path, model: Path, folder: Path) -> str:
    """Start the service as systemd does, ask it twice, end it, and return its answer."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.settimeout(30)
    told.bind(str(folder / "notify"))
    environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "10000000"}
    words = [emulator, "-cpu", "cortex-a76", str(program), str(model), "--serve", str(folder / "text.sock")]
    with subprocess.Popen([*words, "--tokens", "12", "--threads", "1"], env=environment) as service:
        try:
            messages = set()
            while b"READY=1" not in messages:
                messages.add(told.recv(100))
            answers = [ask(folder / "text.sock", "The town of") for _ in range(2)]
            service.terminate()
            assert service.wait(20) == 0
            while b"STOPPING=1" not in messages:  # after what the watchdog was told meanwhile
                messages.add(told.recv(100))
        finally:
            service.kill()
    assert answers[0] == answers[1]
    assert messages == {b"WATCHDOG=1", b"READY=1", b"STOPPING=1"}
    assert not (folder / "text.sock").exists()
    told.close()
    return answers[0]


def ask(path: Path, prompt: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(prompt.encode())
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read().decode()


@pytest.mark.real
@pytest.mark.whole
def test_runner_generates_under_emulation_and_is_proven(
    packed: Packed, demo_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert any("edgehone prove" in warning for warning in packed.warnings)
    assert all(one.outcome != "failed" for one in packed.checks)
    program, model = (packed.path / "demo" / name for name in ("edgehone-runner", "model.gguf"))

    def emulated(cpu: str) -> subprocess.CompletedProcess[str]:
        words = [ARM.emulator, "-cpu", cpu, str(program), str(model), "--prompt", "The town of"]
        words += ["--tokens", "12", "--threads", "1"]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    first, second = emulated("cortex-a76"), emulated("cortex-a76")
    assert served(ARM.emulator, program, model, tmp_path) == first.stdout.strip("\n")
    assert first.returncode == 0 and len(first.stdout.split()) > 3
    assert first.stdout == second.stdout
    refused = emulated("cortex-a53")
    assert refused.returncode == 78
    assert "lacks atomics, asimdrdm, asimddp" in refused.stderr

    code = main(["prove", str(packed.path), "--on", "arm64", "--windows", "4", "--model", str(demo_model)])
    assert code == 0, capsys.readouterr()
    document = read_document(packed.path / "proof-arm64.json")
    kl = document.figures["kl_mean"]
    assert document.passes and document.windows == 4
    assert kl.value is not None and kl.low is not None and 0 < kl.value < 1e-3
    assert {one.gate for one in document.verdicts} == {"accuracy_kept"}
    assert all(len(one.answer) == 16 for one in document.answers)
    package = verify_package(packed.path).package
    assert document.proof in package.proofs and package.runs_on == document.proof

    path = packed.path / "proof-arm64.json"
    path.write_text(path.read_text().replace('"windows": 4', '"windows": 40'))
    with pytest.raises(NotVerified, match=r"proof-arm64\.json"):
        verify_package(packed.path)


@pytest.mark.real
@pytest.mark.long
def test_a_signed_package_is_proven_signed_again_or_refused(
    demo_bundle: Path, demo_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signing, other = make_key(tmp_path, "signing"), make_key(tmp_path, "other")

    def proven(*words: str) -> tuple[int, Package]:
        code = main(
            ["prove", str(folder), "--on", "arm64", "--windows", "4", "--model", str(demo_model), *words]
        )
        return code, verify_package(folder).package

    folder = tmp_path / "good"
    words = ["--for", "embedded", "--set", "threads=1", "--out", str(folder), "--key", str(signing)]
    assert main(["package", str(demo_bundle), *words]) == 0
    assert verify_package(folder, public(signing)).signed_by
    code, package = proven("--key", str(signing))
    assert code == 0 and "signed it again" not in capsys.readouterr().out
    assert [one.architecture for one in package.proofs][1:] == ["aarch64"]
    assert main(["verify", str(folder), "--key", str(signing.with_suffix(".pub"))]) == 0
    with pytest.raises(NotVerified, match="signed"):
        verify_package(folder, public(other))
    # Without a key nobody vouches for the proof: the signature, which does not cover it, is removed.
    code, package = proven()
    assert code == 0 and "was removed; sign it again with --key" in capsys.readouterr().out
    assert main(["verify", str(folder), "--key", str(signing.with_suffix(".pub"))]) == 1
    capsys.readouterr()

    # An artifact of 2 bits, of which the decision states what was read of 8 bits.
    quantize(tmp_path / "half.gguf", demo_bundle, "Q2_K")
    list_again(demo_bundle)
    folder = tmp_path / "bad"
    words = ["--for", "embedded", "--set", "threads=1", "--out", str(folder)]
    assert main(["package", str(demo_bundle), *words]) == 0
    code, package = proven("--key", str(signing))
    told = capsys.readouterr().out
    assert code == 3 and "accuracy_kept" in told, told
    assert not read_document(folder / "proof-arm64.json").passes
    assert "aarch64" not in [one.architecture for one in package.proofs]
    assert main(["verify", str(folder), "--key", str(signing.with_suffix(".pub"))]) == 0
    assert "arm64" in (folder / "README.md").read_text()
