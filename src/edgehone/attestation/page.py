"""certificate.html: the certificate for readers, as one file in the look of report.html.

Nothing is decided by it: programs read certificate.json, whose digest the page shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import PurePath
from typing import Final, get_args

from edgehone.attestation.certificate import CERTIFICATE, Category, Certificate, CheckResult, ListItem
from edgehone.attestation.page_monitoring import interval_text, monitoring_section, number_of, text_of
from edgehone.bundle.read import Bundle
from edgehone.decision.gates import Verdict
from edgehone.report.figures import number, shape, unit_of
from edgehone.report.html.page import document
from edgehone.report.html.parts import day, facts, section, table
from edgehone.report.html.tag import Html, join, tag

_APPROVALS: Final = {
    "yes": ("Approved for production.", "Every check that an approval needs has passed."),
    "conditional": (
        "Approved for production on conditions.",
        "What they ask for must be true where it runs.",
    ),
    "no": ("Not approved for production.", "What has to change first:"),
}
# How outcomes are shown: sign, word, class.
_OUTCOMES: Final = {
    "passed": ("✓", "passed", "ok"),
    "failed": ("✗", "failed", "no"),
    "undecided": ("?", "undecided", "no"),
    "skipped": ("–", "skipped", "wait"),
}
_STATES: Final[Mapping[bool | None, tuple[str, str, str]]] = {
    True: ("✓", "done", "ok"),
    False: ("✗", "not done", "no"),
    None: ("–", "open", "wait"),
}
_PHASES: Final = {"before": "Before deployment", "during": "During deployment", "after": "After deployment"}


def page(bundle: Bundle, certificate: Certificate, digest: str) -> str:
    """Return the page. `digest` is the SHA-256 of certificate.json."""
    title = _title(bundle)
    parts = [
        _top(title, certificate),
        _checks(certificate),
        _gates(bundle),
        _checklist(certificate),
        monitoring_section(certificate.monitoring),
        _about(bundle, certificate),
        _proof(certificate, digest),
    ]
    return document(f"{title}: edgehone certificate", tag("article", *(part for part in parts if part)))


def _title(bundle: Bundle) -> str:
    name = PurePath(str(bundle.decision.model.get("path") or "")).name or str(bundle.manifest.model["name"])
    return f"{name} as {bundle.decision.bundled}"


def _top(title: str, certificate: Certificate) -> Html:
    verdict, text = _APPROVALS[certificate.approval]
    conditions = tag("ul", *(tag("li", one) for one in certificate.conditions))
    lead = tag(
        "p",
        tag("strong", verdict, class_="ok" if certificate.approval == "yes" else None),
        f" {text}",
        class_="lead",
    )
    return tag(
        "header",
        tag("p", f"edgehone certificate, profile {certificate.profile}", class_="brand"),
        tag("h1", title, class_="title"),
        lead,
        tag("div", conditions, class_="banner") if certificate.conditions else None,
        _tiles(certificate),
    )


def _tiles(certificate: Certificate) -> Html:
    """Return how many checks there are of each outcome, and how many items of the check-list are open."""
    count = {outcome: sum(one.outcome == outcome for one in certificate.checks) for outcome in _OUTCOMES}
    open_ = sum(one.done is None for one in certificate.checklist)
    done = sum(one.done is True for one in certificate.checklist)
    tiles = [
        (str(count["passed"]), f"of {len(certificate.checks)} checks passed", ""),
        (str(count["failed"]), "failed", ""),
        (str(count["undecided"] + count["skipped"]), "without an outcome", "undecided or skipped: no pass"),
        (
            f"{done} of {len(certificate.checklist)}",
            "items of the check-list are done",
            f"{open_} not answered",
        ),
    ]
    items = [
        tag("li", tag("b", value), tag("span", word), tag("small", detail) if detail else None)
        for value, word, detail in tiles
    ]
    return tag("ul", *items, class_="tiles")


def _checks(certificate: Certificate) -> Html:
    """Return the section with a table of checks for each category."""
    order = get_args(Category)
    checks = sorted(certificate.checks, key=lambda one: order.index(one.category))
    head = ["Check", "Outcome", "Measured and required", "Why"]
    tables = [
        table(category.capitalize(), head, [_check(one) for one in group], kind="said")
        for category, group in groupby(checks, key=lambda one: one.category)
    ]
    text = "A check that was skipped, or whose interval holds the threshold, has not passed."
    return section("", "checks", "Checks", tag("p", text, class_="note"), *tables)


def _check(one: CheckResult) -> Html:
    figure = _figure(one)
    required = None if one.required else tag("small", "not required for an approval")
    evidence = tag("small", tag("br"), "evidence: ", tag("code", one.evidence)) if one.evidence else None
    return tag(
        "tr",
        tag("th", one.name.replace("_", " "), tag("br") if required else None, required, scope="row"),
        tag("td", _outcome(one.outcome), class_="o"),
        tag("td", figure, tag("small", one.threshold) if one.threshold else None, class_="v"),
        tag("td", one.reason, evidence),
    )


def _figure(one: CheckResult) -> Html | None:
    figure = one.figure
    if figure is None:
        return None
    if figure.value is None:
        return tag("span", "no figure: ", figure.reason, class_="wait")
    interval = interval_text(one.name, figure.low, figure.high, figure.unit)
    small = tag("small", f"{interval}, n = {figure.n}") if interval else None
    return tag("span", number_of(one.name, figure.value, figure.unit), small)


def _outcome(outcome: str) -> Html:
    sign, word, kind = _OUTCOMES[outcome]
    return tag("span", f"{sign} {word}", class_=kind)


def _gates(bundle: Bundle) -> Html | None:
    """Return the verdicts of the decision on the candidate that is bundled."""
    verdicts = bundle.decision.candidate(bundle.decision.bundled or "").verdicts
    if not verdicts:
        return None
    text = "The verdicts of decision.json, each judged by the named end of the 95 % interval."
    head = ["Gate", "Outcome", "Measured and required", "Why"]
    rows = [_verdict(one) for one in verdicts]
    gates = table("Gates of the decision", head, rows, kind="said")
    return section("", "gates", "Gates", tag("p", text, class_="note"), gates)


def _verdict(one: Verdict) -> Html:
    unit = unit_of(one.figure)
    value, low, high = (
        None if end is None else number(one.figure, end, unit) for end in (one.value, one.low, one.high)
    )
    limit = f"{one.bound} {'≥' if one.op == '>=' else '≤'} {number(one.figure, one.threshold, unit)}"
    outcome = "passed" if one.ok else "undecided" if one.undecided else "failed"
    return tag(
        "tr",
        tag("th", shape(one.figure).label, scope="row"),
        tag("td", _outcome(outcome), class_="o"),
        tag(
            "td",
            value or "no figure",
            tag("small", f"{low} to {high}") if low and high else None,
            tag("small", limit),
            class_="v",
        ),
        tag("td", one.reason),
    )


def _checklist(certificate: Certificate) -> Html | None:
    if not certificate.checklist:
        return None
    tables = []
    for phase, title in _PHASES.items():
        if items := [one for one in certificate.checklist if one.phase == phase]:
            tables.append(
                table(title, ["Item", "State", "Answer"], [_item(one) for one in items], kind="said")
            )
    text = (
        "What facts answer is answered by edgehone. What only a person can answer stays open until one does."
    )
    return section("", "checklist", "Production check-list", tag("p", text, class_="note"), *tables)


def _item(one: ListItem) -> Html:
    sign, word, kind = _STATES[one.done]
    return tag(
        "tr",
        tag("th", one.text, scope="row"),
        tag("td", tag("span", f"{sign} {word}", class_=kind), class_="o"),
        tag("td", one.answer, tag("small", f" ({one.by})") if one.by else None),
    )


def _about(bundle: Bundle, certificate: Certificate) -> Html:
    device, model = certificate.device, bundle.manifest.model
    notices = [name for name in bundle.manifest.files if name.startswith("notices/")]
    columns = (
        (
            "Device of the checks",
            [
                ("Processor", device.get("cpu")),
                ("Architecture", device.get("architecture")),
                ("Threads", device.get("threads")),
                ("System", device.get("os")),
                ("Instruction sets", ", ".join(certificate.instruction_sets)),
            ],
        ),
        (
            "Model",
            [
                ("Original", model.get("name")),
                ("Architecture", model.get("architecture")),
                ("Recipe", f"{bundle.manifest.recipe['backend']}/{bundle.manifest.recipe['name']}"),
                ("Licence", model.get("licence")),
                ("Notices", ", ".join(notices)),
            ],
        ),
        (
            "Certificate",
            [
                ("Made", day(certificate.created)),
                ("By", f"edgehone {certificate.edgehone}"),
                ("Profile", certificate.profile),
                ("Versions", text_of(certificate.versions)),
            ],
        ),
    )
    parts = [tag("div", tag("h3", name), facts(pairs)) for name, pairs in columns]
    return section("", "about", "Device, model and certificate", tag("div", *parts, class_="about"))


def _proof(certificate: Certificate, digest: str) -> Html:
    digests = facts(
        [
            (CERTIFICATE, tag("code", digest)),
            ("artifact", tag("code", certificate.artifact)),
            ("decision.json", tag("code", certificate.decision)),
        ]
    )
    text = join(
        "This page is for readers. Programs read ",
        tag("code", CERTIFICATE),
        ". This command verifies that it, the verdicts and the signature are about the files of the bundle:",
    )
    command = "edgehone verify BUNDLE --key signing.pub"
    return section("", "proof", "How to verify", tag("p", text, class_="note"), tag("pre", command), digests)
