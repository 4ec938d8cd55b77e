"""No network at inference: the canaries are answered in a network namespace that leads nowhere, and nothing is sent.

The namespace has the loopback interface only, with a default route to it, so that a packet to any address is counted by
the kernel (Ip: OutRequests of /proc/net/snmp) and then dropped. Where such a route cannot be set, what is shown is that
the answers need no network.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgehone.certify.found import Found, Skipped, counted
from edgehone.certify.profile import Rule
from edgehone.certify.requests import sample_folder
from edgehone.certify.subject import Subject
from edgehone.core.errors import JobError
from edgehone.execution.command import command_line, environment_variables, write_description
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.job import Input, Job
from edgehone.execution.store import read_result

_SECONDS = 600
_INTO = ["unshare", "--user", "--map-root-user", "--net"]
_SCRIPT = """
out=$1; shift
if ip link set lo up && ip route add default dev lo; then echo yes > "$out/counts"; fi 2> /dev/null
"$@"; code=$?
cat /proc/net/snmp > "$out/snmp"
exit $code
"""


def network(subject: Subject, rule: Rule) -> Found:
    """Count the packets that inference sends, and canaries that it does not answer without a network."""
    if shutil.which("unshare") is None:
        raise Skipped("this system has no unshare, with which a process gets a network of its own")
    tried = subprocess.run([*_INTO, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise Skipped(f"this system does not let a user make a network namespace: {tried.stderr.strip()}")
    facts, packets = _isolated(_job(subject))
    problems = _differing(subject, facts)
    if packets:
        problems.append(f"{packets} packets were sent, or would have been: inference uses the network")
    seen = "no packet was sent" if packets is not None else "attempts were not counted"
    told = f"the canaries are answered in a network namespace that leads nowhere; {seen}"
    return counted(problems, told, {"packets": packets, "facts": facts}, n=1)


def _job(subject: Subject) -> Job:
    manifest = subject.bundle.manifest
    if not subject.is_language:
        args = {"kind": "graph", "batch": manifest.batch}
        inputs = {"samples": Input(subject.once(sample_folder), "")}
        return subject.job("edgehone.worker.open_once:attempt", args, inputs)
    if not manifest.canaries:
        raise Skipped("the bundle has no canaries: make it again with its reproduce.sh")
    prompts = [list(one["prompt"]) for one in manifest.canaries]
    count = max(len(one["answer"]) for one in manifest.canaries)
    args = {"prompts": prompts, "count": count, "eos": list(manifest.eos)}
    return subject.job("edgehone.worker.canaries:answers", args)


def _isolated(job: Job) -> tuple[dict[str, Any], int | None]:
    """Run a job in a network namespace. Returns its facts and the packets, None if they could not be counted."""
    with tempfile.TemporaryDirectory(prefix="edgehone-") as name:
        folder = Path(name)
        write_description(job, folder)
        command = [*_INTO, "sh", "-c", _SCRIPT, "sh", str(folder), *command_line(job, folder)]
        with (folder / "log.txt").open("w+", encoding="utf-8", errors="replace") as log:
            # An open pipe as standard input tells the worker that its parent is there.
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment_variables(job, alone=True),
            ) as child:
                try:
                    child.wait(_SECONDS)
                except subprocess.TimeoutExpired as error:
                    child.kill()
                    raise JobError(f"inference without a network does not end within {_SECONDS} s") from error
            log.seek(0)
            said = log.read()
        result = read_result(folder) or {}
        if not result.get("ok"):
            cause = result.get("error", {}).get("message") or root_cause(said) or "its process ended"
            return {"refused": cause}, _packets(folder)
        return result["facts"], _packets(folder)


def _packets(folder: Path) -> int | None:
    if not (folder / "counts").is_file():
        return None
    names, values = (
        line.split() for line in (folder / "snmp").read_text("ascii").splitlines() if line.startswith("Ip:")
    )
    return int(dict(zip(names, values, strict=True))["OutRequests"])


def _differing(subject: Subject, facts: dict[str, Any]) -> list[str]:
    if facts.get("refused"):
        return [f"without a network it does not answer: {facts['refused']}"]
    if not subject.is_language:
        return []
    answers = [list(one["answer"]) for one in facts["canaries"]]
    wanted = [list(one["answer"]) for one in subject.bundle.manifest.canaries]
    pairs = [
        (a, b) for one, other in zip(answers, wanted, strict=False) for a, b in zip(one, other, strict=False)
    ]
    same = sum(a == b for a, b in pairs)
    # As when an engine is proven: where two tokens are nearly as likely, one of 48 may differ.
    return (
        []
        if pairs and same >= 0.97 * len(pairs)
        else [f"{same} of {len(pairs)} tokens of the canaries are equal"]
    )
