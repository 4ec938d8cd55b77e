"""JUnit XML, in the form that GitHub's, GitLab's and Jenkins' readers share: a suite for each stage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from edgehone.pipeline.result import Check, Result

# XML 1.0 has no other control characters; a child's output may contain them.
_INVALID = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(title: str, results: Sequence[Result]) -> str:
    """Return the XML. A stage without checks is one test case, so that no stage is missing."""
    took = sum(one.seconds for one in results)
    root = ET.Element("testsuites", name=_text(title), time=f"{took:.3f}")
    for result in results:
        checks = result.checks or (_whole(result),)
        if result.outcome == "failed" and all(one.outcome != "failed" for one in checks):
            checks = (*checks, _whole(result))
        suite = ET.SubElement(root, "testsuite", _counts(result, checks))
        for one in checks:
            _case(suite, result, one)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _whole(result: Result) -> Check:
    outcome = {"passed": "passed", "failed": "failed"}.get(result.outcome, "skipped")
    return Check(result.stage, outcome, f"{result.outcome}: {result.said}", result.seconds)  # type: ignore[arg-type]


def _counts(result: Result, checks: Sequence[Check]) -> dict[str, str]:
    counts = {
        "tests": len(checks),
        "failures": sum(one.outcome == "failed" for one in checks),
        "skipped": sum(one.outcome == "skipped" for one in checks),
        "errors": 0,
    }
    times = {"time": f"{result.seconds:.3f}", **({"timestamp": result.began[:19]} if result.began else {})}
    return {"name": result.stage, **{name: str(one) for name, one in counts.items()}, **times}


def _case(suite: ET.Element, result: Result, check: Check) -> None:
    words = {
        "name": _text(check.name),
        "classname": f"edgehone.{result.stage}",
        "time": f"{check.seconds:.3f}",
    }
    case = ET.SubElement(suite, "testcase", words)
    if check.outcome == "passed":
        ET.SubElement(case, "system-out").text = _text(check.said)
        return
    kind = "failure" if check.outcome == "failed" else "skipped"
    told = ET.SubElement(case, kind, message=_text(check.said))
    if kind == "failure":
        told.text = _text(check.said)


def _text(text: str) -> str:
    return _INVALID.sub("?", text)
