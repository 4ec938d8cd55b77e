"""The samples of packages, compiled by real compilers, and run where what they call runs here.

Kotlin by JetBrains' compiler against declarations of Android's classes, C# by Mono's compiler with ONNX Runtime's own
sources, C with ONNX Runtime's own headers. The last two then give the proven outputs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

import edgehone
from edgehone.backends import registry as backends
from edgehone.execution.environments import environment
from edgehone.package.targets.onnxruntime import samples, target
from edgehone.package.write import Order, pack
from tests.package.npm_sources import KOTLIN, ONNXRUNTIME, fetched
from tests.registry.servers import program

pytestmark = [pytest.mark.real, pytest.mark.long]
ANDROID = Path(edgehone.__file__).parent / "package" / "targets" / "android"
STUBS = Path(__file__).with_name("android_stubs")
# Mono's compiler knows C# 7. These say in it what ONNX Runtime's sources say in C# 8 and 9.
OLDER: Sequence[tuple[str, str]] = (
    (r"\bstatic ptr =>", "ptr =>"),
    (r"\bis null\b", "== null"),
    (r"\bis not (.*)\)$", r"is \1 == false)"),
    (r"\busing var\b", "var"),
    (r"DisposableList<OrtValue> (\w+) = new\(", r"DisposableList<OrtValue> \1 = new DisposableList<OrtValue>("),
    (r"\bunmanaged\b", "struct"),
    # It cannot assign to an element of a span that a property returns, nor to two elements in one statement.
    (r"^( +)(\w+)\.Span\[(\w+)\] = (.*);", r"\1\2.Span.Slice(\3, 1).Fill(\4);"),
    (r"^( +)(\w+\[[^]]+\]) = (\w+\[[^]]+\]) = ([^=]*);", r"\1\3 = \4; \2 = \3;"),
)  # fmt: skip


def kotlin(*sources: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Compile Kotlin against Java sources among them; warnings are errors."""
    java, compiler = program("java", "default-jre-headless"), fetched(KOTLIN)
    path = os.pathsep.join(str(one) for one in sorted((compiler / "lib").glob("*.jar")))
    options = ["-no-reflect", "-kotlin-home", str(compiler), "-jvm-target", "17", "-Werror", "-d", str(out)]
    words = [java, "-XX:TieredStopAtLevel=1", "-cp", path, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    return subprocess.run(
        [*words, *options, *map(str, sources)], capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize("location", ["apk", "asset_pack"])
def test_the_app_in_kotlin_compiles(location: str, tmp_path: Path) -> None:
    sample = tmp_path / "sample"
    shutil.copytree(ANDROID / "sample" / "app" / "src" / "main" / "java", sample)
    shutil.copytree(ANDROID / "location" / location, sample, dirs_exist_ok=True)
    done = kotlin(sample, STUBS, out=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "edgehone" / "sample").glob("*.class"))) >= 8
    if location == "apk":  # a mistake is found
        file = next(sample.rglob("ModelFile.kt"))
        file.write_text(file.read_text().replace("descriptor.fileDescriptor", "descriptor.descriptor"))
        done = kotlin(sample, STUBS, out=tmp_path / "wrong")
        assert done.returncode and "unresolved reference 'descriptor'" in done.stderr, done.stderr


def test_big_cores_are_counted(tmp_path: Path) -> None:
    main = tmp_path / "Main.kt"
    main.write_text(
        "import edgehone.sample.bigCores\nimport java.io.File\n"
        "fun main(args: Array<String>) = args.forEach { println(bigCores(File(it))) }\n"
    )
    source = ANDROID / "sample" / "app" / "src" / "main" / "java" / "edgehone" / "sample" / "BigCores.kt"
    assert (done := kotlin(main, source, out=tmp_path / "out")).returncode == 0, done.stderr
    cores = {"phone": [1800, 1800, 1800, 1800, 2400, 2400, 2400, 3000], "equal": [2000] * 4}
    for name, frequencies in cores.items():
        for at, one in enumerate(frequencies):
            file = tmp_path / name / f"cpu{at}" / "cpufreq" / "cpuinfo_max_freq"
            file.parent.mkdir(parents=True)
            file.write_text(f"{one}000\n")
    path = os.pathsep.join([str(tmp_path / "out"), str(fetched(KOTLIN) / "lib" / "kotlin-stdlib.jar")])
    words = [
        program("java", "default-jre-headless"),
        "-cp",
        path,
        "MainKt",
        *(str(tmp_path / one) for one in cores),
    ]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["4", "4"]


@pytest.fixture
def place(digits_bundle: Path, tmp_path: Path) -> Path:
    """The folder of a package of digits."""
    return pack(digits_bundle, Order(target, tmp_path / "package", {"name": "digits"})).path / "digits"


def library(folder: Path, name: str) -> Path:
    """Return a link to the library of ONNX Runtime, by the name that a release has."""
    env = environment.ensure("onnxruntime", backends.load("onnxruntime").NEEDS, print)
    (found,) = env.python.parent.parent.glob("lib/*/site-packages/onnxruntime/capi/libonnxruntime.so.*")
    (folder / name).symlink_to(found)
    return folder / name


def outputs_are_told_apart(command: Sequence[str], place: Path, environ: dict[str, str]) -> None:
    """Run a sample with both files, and with a proven output that was changed."""
    environ = {**os.environ, **environ}
    for model in ("ort/model.ort", "onnx/digits.onnx"):
        done = subprocess.run(
            [*command, model], cwd=place, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and f"{model}: the proven outputs" in done.stdout, (
            done.stdout + done.stderr
        )
    file = place / "canary" / "output-0.bin"
    file.write_bytes(file.read_bytes()[:-4] + b"\x00\x00\x80\x42")  # the last number becomes 64
    done = subprocess.run(
        [*command, "ort/model.ort"], cwd=place, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "NOT the proven outputs" in done.stdout, done.stdout + done.stderr


def test_the_sample_in_csharp_gives_the_proven_outputs(place: Path, tmp_path: Path) -> None:
    compiler, mono = program("mcs", "mono-mcs"), program("mono", "mono-runtime")
    sources = tmp_path / "sources"
    for one in sorted((fetched(ONNXRUNTIME) / "Runtime").rglob("*.cs")):
        text = one.read_text("utf-8-sig")
        for modern, older in OLDER:
            text = re.sub(modern, older, text, flags=re.MULTILINE)
        written = sources / one.relative_to(fetched(ONNXRUNTIME) / "Runtime")
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(text, "utf-8")
    interface = tmp_path / "Microsoft.ML.OnnxRuntime.dll"
    _mcs(
        compiler,
        interface,
        ["-target:library", "-unsafe", "-langversion:latest", "-d:NETSTANDARD2_0"],
        sorted(sources.rglob("*.cs")),
    )
    sample = tmp_path / "sample.exe"
    used = [f"-r:{interface}", "-r:System.Core", "-r:System.Runtime.Serialization", "-r:System.Xml"]
    strict = ["-warnaserror", "-nowarn:0649"]  # 0649: fields that only a reader of JSON assigns
    _mcs(compiler, sample, ["-langversion:7.2", *used, *strict], [place / "csharp" / "Program.cs"])
    library(tmp_path, "libonnxruntime.so")
    outputs_are_told_apart([mono, str(sample)], place, {"LD_LIBRARY_PATH": str(tmp_path)})


def test_the_sample_in_csharp_of_a_language_model_compiles(tmp_path: Path) -> None:
    compiler, genai = program("mcs", "mono-mcs"), tmp_path / "genai.dll"
    _mcs(compiler, genai, ["-target:library"], [Path(__file__).with_name("genai_stub.cs")])
    (tmp_path / "Program.cs").write_text(samples.text_of("genai_Program.cs"))
    used = [f"-r:{genai}", "-r:System.Core", "-r:System.Runtime.Serialization", "-r:System.Xml"]
    strict = ["-langversion:7.2", "-warnaserror", "-nowarn:0649"]
    _mcs(compiler, tmp_path / "sample.exe", [*used, *strict], [tmp_path / "Program.cs"])


def _mcs(compiler: str, out: Path, options: Sequence[str], sources: Sequence[Path]) -> None:
    words = [compiler, f"-out:{out}", *options, *map(str, sources)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_sample_in_c_gives_the_proven_outputs(place: Path, tmp_path: Path) -> None:
    (header,) = fetched(ONNXRUNTIME).rglob("onnxruntime_c_api.h")
    found, sample = library(tmp_path, "libonnxruntime.so.1"), tmp_path / "sample"
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-isystem{header.parent}"]
    command += ["-o", str(sample), "c/main.c", str(found), "-lm", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run(command, cwd=place, check=True)
    outputs_are_told_apart([str(sample)], place, {})
