"""Find the root cause of a failure in a log: the line that a user would look for."""

from __future__ import annotations

import re

# In order of relevance. The last match of a pattern counts, because failed retries come before the final failure.
_PATTERNS = (
    re.compile(r"^.*(?:No space left on device|Disk quota exceeded).*$", re.M),
    re.compile(r"^.*(?:std::bad_alloc|Cannot allocate memory|out of memory|MemoryError).*$", re.M | re.I),
    re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Exit|Interrupt)(?:: .*)?$", re.M),
    re.compile(r"^.*\b(?:fatal error|CMake Error|GGML_ASSERT|terminate called|Check failed)\b.*$", re.M),
    re.compile(r"^.*\b(?:error|failed|cannot|unsupported|not supported)\b.*$", re.M | re.I),
)
_LONGEST = 500


def root_cause(log: str) -> str:
    """Return the most relevant line at the end of a log, at most 500 characters; '' for an empty log."""
    end = log[-20_000:]
    for pattern in _PATTERNS:
        if hits := pattern.findall(end):
            return one_line(hits[-1])
    lines = [line for line in end.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else ""


def one_line(line: str, longest: int = _LONGEST) -> str:
    """Return a line without terminal escapes and control characters, cut to `longest` characters."""
    clean = re.sub(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f]", "", line).strip()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
