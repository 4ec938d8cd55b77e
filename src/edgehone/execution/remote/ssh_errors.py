"""The meaning of the ssh client's messages, and what the user can do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from edgehone.core.errors import SetupError

RUN_AGAIN = "run the same command again; finished jobs are kept on both machines"

# A pattern in ssh's output, what it means, and a hint; `{by_hand}` is the command that connects by hand.
_MEANINGS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed",
        "find out why before you continue: {by_hand}",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        "its host key is not known on this machine",
        "connect once by hand, check the key and accept it: {by_hand}",
    ),
    (
        r"Permission denied|Too many authentication failures",
        "authentication failed: it accepts none of the keys offered",
        "run ssh-copy-id, or load the key into ssh-agent; then try {by_hand} true",
    ),
    (
        r"Could not resolve hostname|Connection refused|timed out|No route to host|Network is unreachable",
        "it cannot be reached",
        "check that it is switched on and runs an SSH server: {by_hand} true",
    ),
)


def explain(name: str, command: Sequence[str], output: str, when: str) -> SetupError:
    """Return the error for a connection to `name` that ended with this output of ssh. `command` connects by hand."""
    by_hand = shlex.join(command)
    last = output.splitlines()[-1].strip() if output else "no output of ssh"
    for pattern, meaning, hint in _MEANINGS:
        if re.search(pattern, output):
            return SetupError(f"{name}: {meaning} ({last})", hint=hint.format(by_hand=by_hand))
    return SetupError(f"{name}: the connection was lost {when} ({last})", hint=RUN_AGAIN)
