"""What is generated for Prometheus and Alertmanager, judged by promtool and amtool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.monitor.alert import Baselines, alerts
from edgehone.monitor.generate import Monitored, generated
from edgehone.monitor.prometheus import alert_name, rules
from edgehone.monitor.yaml_text import yaml_text
from tests.monitor.certified import all_alerts, amtool, baselines, promtool

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def written(folder: Path, of: list[Baselines]) -> Path:
    for name, text in generated(Monitored("127.0.0.1:8080", False, of)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return written(tmp_path / "out", [baselines()])


def test_promtool_accepts_the_rules_and_their_tests_pass(out: Path) -> None:
    said = promtool("check", "rules", out / "prometheus" / "rules.yml")
    found = yaml.safe_load((out / "prometheus" / "rules.yml").read_text("utf-8"))
    count = sum(len(group["rules"]) for group in found["groups"])
    assert f"SUCCESS: {count} rules found" in said
    promtool("check", "config", out / "prometheus" / "prometheus.yml")
    promtool("test", "rules", out / "prometheus" / "rules_test.yml")


def test_the_tests_of_rules_find_rules_that_were_changed(out: Path) -> None:
    path = out / "prometheus" / "rules.yml"
    text = path.read_text("utf-8")
    for old, new in (
        ("> 120000000", "> 999000000"),  # never fires
        ("< 134217728", "< 999999999"),  # fires within the limit
        ("> 19.5", "> 0.5"),  # fires with few requests
        ("rate1h > 0.072", "rate1h > 0.9"),
        ("severity: page\n          symptom: security", "severity: ticket\n          symptom: security"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    said = promtool("test", "rules", out / "prometheus" / "rules_test.yml", fine=False)
    for name in ("Memory", "MemoryAvailable", "LatencyP95", "AvailabilityBudgetFast", "ChangedFiles"):
        assert f'alertname=\\"Edgehone{name}\\"' in said, name
    assert "EdgehoneNotReady" not in said


def test_every_alert_has_labels_and_texts(out: Path) -> None:
    found = yaml.safe_load((out / "prometheus" / "rules.yml").read_text("utf-8"))
    told = {one["alert"]: one for group in found["groups"] for one in group["rules"] if "alert" in one}
    assert set(told) == {alert_name(one) for one in all_alerts()}
    for one in told.values():
        assert {"severity", "symptom"} <= one["labels"].keys()
        assert all(one["annotations"][name] for name in ("summary", "figures", "action"))
    assert told["EdgehoneLatencyP95"]["annotations"]["figures"] == (
        "{{ $value | humanizePercentage }} of the requests took longer than 0.016 s; the limit is 5 % "
        "(1.5 times served_p95_s of the certificate, 0.01)"
    )


def test_objectives_are_recorded_once_and_used(out: Path) -> None:
    found = yaml.safe_load((out / "prometheus" / "rules.yml").read_text("utf-8"))
    (group,) = [one for one in found["groups"] if one["name"] == "edgehone_objectives"]
    recorded = [one["record"] for one in group["rules"] if "record" in one]
    assert len(recorded) == len(set(recorded)) == 10  # five windows of two objectives
    fast = next(one for one in group["rules"] if one.get("alert") == "EdgehoneAvailabilityBudgetFast")
    lines = fast["expr"].split("\nand\n")
    assert lines[:2] == [
        "edgehone:availability_bad_share:rate1h > 0.072",
        "edgehone:availability_bad_share:rate5m > 0.072",
    ]


# Names of folders are names of models: any bytes but "/" and NUL that are UTF-8.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30)
_ODD = st.sampled_from(
    ['"', "\\", "{{", "}}", "{{ $value }}", "\n", "'", "`", "#", ": ", "|", "*", "%", "é", "\u2028"]
)
MODELS = st.builds("".join, st.lists(NAMES | _ODD, min_size=1, max_size=4))


@pytest.mark.whole
def test_no_name_of_a_model_breaks_the_rules_or_their_tests(tmp_path: Path) -> None:
    few = [one for one in all_alerts() if one.name in ("latency_p95", "latency_budget_fast", "memory")]
    assert len(few) == 3

    @settings(max_examples=4, derandomize=True, phases=[Phase.generate])
    @given(st.lists(MODELS, min_size=6, max_size=6, unique=True))
    def sound(names: list[str]) -> None:
        figures = {"served_p95_s": 0.01, "served_model_memory_bytes": 1e8}
        of = [Baselines(name, figures, {"latency": 1.5, "memory": 1.2}) for name in names]
        made = [one for one in alerts(of) if one.name in {other.name for other in few}]
        assert len(made) == 18
        written(tmp_path, of)
        (tmp_path / "prometheus" / "rules.yml").write_text(yaml_text(rules(made)), "utf-8")
        promtool("check", "rules", tmp_path / "prometheus" / "rules.yml")
        tests = yaml.safe_load((tmp_path / "prometheus" / "rules_test.yml").read_text("utf-8"))
        chosen = [
            one for one in tests["tests"] if any(f"{alert_name(each)} of" in one["name"] for each in few)
        ]
        assert len(chosen) >= 36
        (tmp_path / "prometheus" / "rules_test.yml").write_text(
            yaml_text({**tests, "tests": chosen}), "utf-8"
        )
        promtool("test", "rules", tmp_path / "prometheus" / "rules_test.yml")

    sound()


def test_a_name_that_is_no_text_and_a_target_that_is_none_are_refused() -> None:
    with pytest.raises(InputError, match="no text in UTF-8"):
        generated(Monitored("127.0.0.1:8080", False, [baselines("a\udcff")]))
    for target in ("127.0.0.1", "a b:1", "host:99 # x", "host:port"):
        with pytest.raises(InputError, match="no HOST:PORT"):
            generated(Monitored(target, False, [baselines()]))


@given(PLAIN)
def test_what_is_written_as_yaml_is_read_as_it_was(content: Any) -> None:
    assert yaml.safe_load(yaml_text(content, "a comment\nof two lines")) == content


def test_amtool_accepts_the_configuration_and_routes_by_severity(out: Path) -> None:
    path = out / "alertmanager" / "alertmanager.yml"
    said = amtool("check-config", path)
    assert "2 receivers" in said and "5 inhibit rules" in said
    for severity in ("page", "ticket"):
        words = (
            "config",
            "routes",
            "test",
            f"--config.file={path}",
            f"severity={severity}",
            "alertname=EdgehoneDown",
        )
        assert amtool(*words).splitlines()[0] == severity


def test_the_readme_names_every_alert_and_what_is_left_out(tmp_path: Path) -> None:
    out = written(tmp_path, [baselines("a|b`c"), Baselines("bare", {}, {}, reason="no certificate")])
    text = (out / "README.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for one in alerts([baselines()]):
        assert any(row.startswith(f"| {one.name}") for row in rows), one.name
    assert "| latency_p95 of `bare` | no certificate |" in rows
    assert all(len(row.replace("\\|", "").split("|")) in (4, 7) for row in rows)


def test_a_server_with_https_is_scraped_so() -> None:
    found = yaml.safe_load(
        generated(Monitored("[::1]:8443", True, [baselines()]))["prometheus/prometheus.yml"]
    )
    (job,) = found["scrape_configs"]
    assert job["scheme"] == "https" and job["static_configs"] == [{"targets": ["[::1]:8443"]}]
