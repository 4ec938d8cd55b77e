"""The privacy manifest that Apple asks of packages: PrivacyInfo.xcprivacy, a property list."""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from typing import Any, Final
from xml.parsers.expat import ExpatError

# The keys of a privacy manifest, and the types of their values.
KEYS: Final[Mapping[str, type]] = {
    "NSPrivacyTracking": bool,
    "NSPrivacyTrackingDomains": list,
    "NSPrivacyCollectedDataTypes": list,
    "NSPrivacyAccessedAPITypes": list,
}


def privacy_manifest() -> bytes:
    """Return the manifest of a model and code that reads it: no tracking, no data, no interface that needs a reason."""
    return plistlib.dumps({name: kind() for name, kind in KEYS.items()}, sort_keys=True)


def problem_of(content: bytes) -> str | None:
    """Return what is wrong with a privacy manifest, None if nothing is."""
    try:
        found: Any = plistlib.loads(content)
    except (ValueError, ExpatError) as error:  # InvalidFileException is a ValueError
        return f"it is no property list: {error}"
    if not isinstance(found, dict) or set(found) != set(KEYS):
        return f"its keys are not {', '.join(KEYS)}"
    if wrong := [name for name, kind in KEYS.items() if type(found[name]) is not kind]:
        return f"{wrong[0]} is {found[wrong[0]]!r}"
    if found["NSPrivacyTrackingDomains"] and not found["NSPrivacyTracking"]:
        return "it has tracking domains, and no tracking"
    return None
