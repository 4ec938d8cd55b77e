"""What an image of the same artifact takes that somebody makes by hand.

It is what a Containerfile of five lines gives: Debian's smallest root file system, the programs of llama.cpp, the
model, and llama-server as its first process. For an ONNX graph it has Python, ONNX Runtime and a server of 30 lines in
the place of llama.cpp. It has a shell and a package manager, verifies nothing, and is ready before it has answered
anything.
"""

from __future__ import annotations

import json
import shutil
import socket
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.by_hand import Compared, run
from edgehone.backends import registry as backends
from edgehone.bundle.read import Bundle
from edgehone.execution.environments import environment
from edgehone.execution.environments.installer import Machine, install_for
from edgehone.package import registry
from edgehone.package.targets.container import buildah, debian, layout, wheels
from edgehone.package.write import Order, Packed, pack
from edgehone.worker import canaries

_RUNS = 9
_SECONDS = 120.0
# The images that are compared, and what the times are called until they have answered the canaries.
_PACKAGE, _BY_HAND, _PLAIN = "package", "by hand", "llama-server"
_ANSWERED = ", canaries answered"
_POLICY = str(Path(buildah.__file__).with_name("policy.json"))


@dataclass(frozen=True)
class _Hand:
    """An image made by hand: Debian's packages, what is copied into it, its first process, and its health check.

    `ask` has a server, by its address, answer the canaries of the bundle, as the package's proves itself.
    """

    include: str
    fill: Callable[[Path], None]
    start: Sequence[str]
    health: str
    ask: Callable[[str], None]


def image(bundle: Bundle, packed: Packed, folder: Path) -> Compared:
    """Compare compressed size and start with an image made by hand, both started in turn.

    The package's is ready once its engine has answered the canaries. That by hand is ready once its server says so,
    and is then asked for the same answers: both times are compared. Of a GGUF file the package with llama-server alone
    is measured too, as that by hand. A start is slower if the 95 % interval of the ratio of the pairs is above 1.
    """
    if missing := [one for one in ("podman", "runc", "mmdebstrap") if shutil.which(one) is None]:
        return {"by_hand": f"not installed: {' '.join(missing)}"}, []
    hand = _hand_of(bundle)
    if hand is None:
        return {"by_hand": "only made for GGUF files and ONNX graphs"}, []
    layouts = {_PACKAGE: packed.path / "image", _BY_HAND: _image_of(hand, folder)}
    if (bundle.artifact / "model.gguf").is_file():
        order = Order(registry.load("container"), folder / "plain", {"server": _PLAIN}, unapproved=True)
        layouts[_PLAIN] = pack(bundle.path, order).path / "image"
    times = _times(layouts, hand)
    pairs = [(_PACKAGE, _BY_HAND), (_PACKAGE, _BY_HAND + _ANSWERED)]
    if _PLAIN in layouts:
        pairs += [(_PLAIN, _BY_HAND), (_PLAIN + _ANSWERED, _BY_HAND + _ANSWERED)]
    ratios = {f"{ours} to {theirs}": _ratio(times[ours], times[theirs]) for ours, theirs in pairs}
    sizes = {name: _compressed(place) for name, place in layouts.items()}
    larger = [name for name in sizes if sizes[name] > sizes[_BY_HAND]]
    misses = [f"the image of {name} is larger than one made by hand" for name in larger]
    misses += [
        f"start, {name}: {ratio['value']:.2f} times as slow"
        for name, ratio in ratios.items()
        if ratio["low"] > 1
    ]
    start = {
        name: {"median": median(some), "low": min(some), "high": max(some)} for name, some in times.items()
    }
    del sizes[_PACKAGE]
    return {"compared_bytes": sizes, "start_seconds": start, "start_ratios": ratios}, misses


def _times(layouts: Mapping[str, Path], hand: _Hand) -> dict[str, list[float]]:
    """Start each image in turn, and return the seconds until it is ready, and until it has answered the canaries."""
    numbers = {name: _pulled(place) for name, place in layouts.items()}
    times: dict[str, list[float]] = {}
    try:
        for _ in range(_RUNS):
            for name, number in numbers.items():
                if name == _PACKAGE:
                    times.setdefault(name, []).append(_seconds_until_ready(number, "/readyz")[0])
                    continue
                ready, answered = _seconds_until_ready(number, hand.health, hand.ask)
                times.setdefault(name, []).append(ready)
                times.setdefault(name + _ANSWERED, []).append(answered)
    finally:
        for one in numbers.values():
            _podman("rmi", "--force", one)
    return times


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the median of the ratios of pairs, with a 95 % interval from 2,000 resamples of the pairs."""
    pairs = np.asarray(ours) / np.asarray(theirs)
    drawn = np.random.default_rng(1).choice(pairs, (2000, len(pairs)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return {"value": float(np.median(pairs)), "low": float(low), "high": float(high)}


def _hand_of(bundle: Bundle) -> _Hand | None:
    gguf, graphs = bundle.artifact / "model.gguf", sorted(bundle.artifact.glob("*.onnx"))
    if gguf.is_file():

        def programs(tree: Path) -> None:
            toolchain = environment.ensure(
                "llamacpp", backends.load("llamacpp").NEEDS, lambda text: None
            ).toolchain
            assert toolchain is not None
            shutil.copytree(toolchain / "bin", tree / "opt" / "llama", symlinks=True)
            shutil.copyfile(gguf, tree / "opt" / "llama" / "model.gguf")

        command = ["/opt/llama/llama-server", "--model", "/opt/llama/model.gguf", "--host", "0.0.0.0"]
        asked = [
            ("/completion", {"prompt": one["prompt"], "n_predict": len(one["answer"]), "temperature": 0})
            for one in bundle.manifest.canaries
        ]
        return _Hand(
            "libstdc++6,libgomp1,libssl3", programs, command, "/health", lambda url: _post(url, asked)
        )
    if len(graphs) == 1 and bundle.manifest.kind == "graph":

        def server(tree: Path) -> None:
            place = tree / "opt" / "server"
            (place / "packages").mkdir(parents=True)
            shutil.copyfile(graphs[0], place / "model.onnx")
            shutil.copyfile(Path(__file__).with_name("by_hand_server.py"), place / "server.py")
            lock = place / "requirements.txt"
            wanted = wheels.Wanted("onnxruntime", "graph", "cpu", "amd64", debian.suite()[1]["python"])
            lines = wheels.requirements(wanted).splitlines()
            lock.write_text(
                "".join(f"{one}\n" for one in lines if one.startswith(("numpy=", "onnxruntime=")))
            )
            machine = Machine(wanted.python, "x86_64-manylinux_2_36")
            install_for("by-hand", lock, place / "packages", machine, lambda text: None)

        assert bundle.canaries is not None
        given = [
            ("/infer", {name: one.tolist() for name, one in question.items()})
            for question, _ in canaries.read(bundle.canaries)
        ]
        command = ["/usr/bin/python3", "/opt/server/server.py"]
        return _Hand("python3,libstdc++6", server, command, "/health", lambda url: _post(url, given))
    return None


def _image_of(hand: _Hand, folder: Path) -> Path:
    """Write the layout of an image made by hand, and return its folder."""
    images, name = buildah.store(), f"localhost/edgehone-by-hand:{uuid.uuid4().hex[:8]}"
    root, tree = folder / "root.tar", folder / "by-hand-tree"
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={hand.include}"]
    run([*words, debian.suite()[0], str(root), str(debian.sources())])
    hand.fill(tree)
    with images.container("scratch", "amd64") as container:
        images.run("add", "-q", container, root, "/")
        images.run("copy", "-q", container, tree, "/")
        images.run("config", "--entrypoint", json.dumps(hand.start), container)
        images.commit(container, name)
    root.unlink()
    place = folder / "by-hand"
    images.write(name, place, "by-hand")
    images.remove(name)
    return place


def _compressed(place: Path) -> int:
    return sum(int(one["size"]) for one in layout.read_image(place).manifest["layers"])


def _pulled(place: Path) -> str:
    """Return the number of the image of a layout in podman's storage."""
    index = json.loads((place / "index.json").read_text("utf-8"))
    name = index["manifests"][0]["annotations"][layout.NAME]
    words = ("pull", "-q", "--signature-policy", _POLICY, f"oci:{place.name}:{name}")
    return _podman(*words, folder=place.parent).splitlines()[-1]


def _post(url: str, requests: Sequence[tuple[str, Any]]) -> None:
    """Send all requests at once, and wait for their answers."""

    def ask(request: tuple[str, Any]) -> None:
        path, content = request
        asked = urllib.request.Request(
            f"{url}{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=_SECONDS) as answer:
            answer.read()

    with ThreadPoolExecutor(len(requests)) as threads:
        list(threads.map(ask, requests))


def _seconds_until_ready(
    number: str, path: str, ask: Callable[[str], None] = lambda url: None
) -> tuple[float, float]:
    """Return after how many seconds a container is ready, and after how many it has answered `ask`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    name = f"edgehone-by-hand-{uuid.uuid4().hex[:8]}"
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--read-only", "--tmpfs", "/tmp")
    begun = time.perf_counter()
    words = ("-d", "--name", name, "--network", "host", "--log-driver", "k8s-file", *limits)
    _podman("run", *words, number, "--port", port)
    try:
        while time.perf_counter() - begun < _SECONDS:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                    ready = time.perf_counter() - begun
            except OSError:  # refused, or answered that it is not ready
                time.sleep(0.02)
                continue
            ask(f"http://127.0.0.1:{port}")
            return ready, time.perf_counter() - begun
        raise SystemExit(f"the container is not ready after {_SECONDS:.0f} s: {_podman('logs', name)}")
    finally:
        _podman("rm", "--force", "--time", "0", name)


def _podman(*words: str, folder: Path | None = None) -> str:
    plain = ("--events-backend", "none", "--cgroup-manager", "cgroupfs", "--runtime", "runc")
    return run(["podman", *buildah.store().options, *plain, *words], folder)
