"""The same traffic given to Prometheus' own engine and to the evaluation without it: both raise the same alerts."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import Phase, given, settings

from edgehone.monitor.evaluate import Evaluator
from edgehone.monitor.prometheus import alert_name, rules
from edgehone.monitor.yaml_text import yaml_text
from tests.monitor.certified import all_alerts, program, promtool
from tests.monitor.traffic import INTERVAL_S, Line, texts, traffic, unit_values

LOOKS = (10, 25, 40, 59)


def raised_by_prometheus(folder: Path, lines: list[Line], failed: list[bool]) -> list[set[str]]:
    """Return the names of the alerts that fire at each look.

    promtool tells them where they differ from what is expected, so something is expected that never is.
    """
    up = Line("up", {}, [0.0 if missing else 1.0 for missing in failed])
    target = {"job": "edgehone", "instance": "a:1"}
    lines = [Line(one.metric, {**target, **one.labels}, one.values) for one in lines]
    series = [{"series": one.name, "values": unit_values(one, failed)} for one in lines]
    series.append({"series": Line("up", target, ()).name, "values": unit_values(up, [False] * len(failed))})
    expected = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"}) or vector(7)'}
    tests = [{**expected, "eval_time": f"{at * INTERVAL_S}s", "exp_samples": []} for at in LOOKS]
    (folder / "rules.yml").write_text(yaml_text(rules(all_alerts())))
    test = {"interval": f"{INTERVAL_S}s", "input_series": series, "promql_expr_test": tests}
    content = {"rule_files": ["rules.yml"], "evaluation_interval": f"{INTERVAL_S}s", "tests": [test]}
    (folder / "test.yml").write_text(yaml_text(content))
    said = promtool("test", "rules", folder / "test.yml", fine=False)
    blocks = re.findall(r"got: (.*?)(?=\n\n|\n\s+expr|\Z)", said, re.S)
    assert len(blocks) == len(LOOKS), said
    return [set(re.findall(r'alertname="(\w+)"', block)) for block in blocks]


def raised_without(lines: list[Line], failed: list[bool]) -> list[set[str]]:
    evaluator, found = Evaluator(all_alerts()), []
    for at, text in enumerate(texts(lines, failed)):
        evaluator.add(at * INTERVAL_S, text)
        if at in LOOKS:
            found.append({alert_name(one.alert) for one in evaluator.firing()})
    return found


def test_both_raise_the_same_alerts(tmp_path: Path) -> None:
    program("promtool", "prometheus")
    seen: set[str] = set()

    # Without shrinking: each try starts promtool.
    @settings(max_examples=40, derandomize=True, phases=[Phase.generate])
    @given(traffic())
    def same(drawn: tuple[list[Line], list[bool]]) -> None:
        lines, failed = drawn
        by_prometheus, without = raised_by_prometheus(tmp_path, lines, failed), raised_without(lines, failed)
        assert by_prometheus == without
        seen.update(*without)

    same()
    # The traffic is such that most alerts on it are raised at some time.
    assert len(seen) >= 8, seen
