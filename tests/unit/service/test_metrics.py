"""Metrics: the names in docs/metrics.md and on the dashboard are those that /metrics gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from callback_sdk.redaction import Secret
from callback_sdk.service import metrics
from callback_sdk.service.store import Store, Submission, TaskRow, open_database
from callback_sdk.service.store.cipher import CredentialCipher

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads(Path(metrics.__file__).with_name("dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
RULES = [
    rule
    for group in yaml.safe_load(Path(metrics.__file__).with_name("alert-rules.yaml").read_text())["groups"]
    for rule in group["rules"]
]
SCRAPED = frozenset({"job", "instance"})
"""Labels that Prometheus itself adds."""

Labels = frozenset[str]


@pytest.fixture
def families(tmp_path: Path, cipher: CredentialCipher) -> Iterator[dict[str, Any]]:
    """Return the content of /metrics, after each counter and histogram was incremented."""
    for metric in vars(metrics).values():
        if isinstance(metric, (Counter, Histogram)):
            child = metric.labels(*metric._labelnames) if metric._labelnames else metric
            child.inc(0) if isinstance(metric, Counter) else child.observe(0)
    store = Store(open_database(Secret(f"sqlite:///{tmp_path / 'store.sqlite3'}")), cipher)
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, targets=(), features=b"[]")])
    text = metrics.exposition(store).decode()
    store.close()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    # When each was first counted, which Prometheus' library adds of its own accord.
    return {name: family for name, family in found.items() if not name.endswith("_created")}


def samples_of(families: dict[str, Any]) -> dict[str, Labels]:
    """Return the names that an expression may use, and their labels."""
    found: dict[str, Labels] = {}
    for family in families.values():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found[sample.name] = found.get(sample.name, frozenset()) | frozenset(sample.labels)
    return found


def test_documented_metrics_are_the_exposed_ones(families: dict[str, Any]) -> None:
    """Names, labels and types of all metrics, and no others."""
    rows = re.findall(
        r"^\| `(callback_sdk_\w+?)(?:\{([\w,]+)\})?` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.M
    )
    told = {name: (kind, frozenset(labels.split(",")) if labels else frozenset()) for name, labels, kind in rows}
    there = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
        for family in families.values()
    }
    assert told == there


def parts(node: Any) -> Iterator[Any]:
    """Yield an expression and all that it is made of."""
    yield node
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    for child in [*children, *getattr(node, "args", ())]:
        if child is not None:
            yield from parts(child)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_expression_of_the_dashboard_uses_existing_metrics(
    panel: dict[str, Any], families: dict[str, Any]
) -> None:
    """A PromQL parser reads the expressions; all names and labels are exposed."""
    there = samples_of(families)
    for target in panel["targets"]:
        whole = list(parts(promql_parser.parse(target["expr"].replace("$__rate_interval", "5m"))))
        found = [part for part in whole if isinstance(part, promql_parser.VectorSelector)]
        assert found
        labels: Labels = frozenset().union(*(there[selector.name] for selector in found)) | SCRAPED
        assert {matcher.name for selector in found for matcher in selector.matchers.matchers} <= labels
        grouped = {
            label
            for part in whole
            if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None
            for label in part.modifier.labels
        }
        assert grouped <= labels
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_rule_uses_existing_metrics(rule: dict[str, Any], families: dict[str, Any]) -> None:
    """A PromQL parser reads the expression; its names and labels are exposed, and those of its texts are kept."""
    there = {**samples_of(families), "up": SCRAPED}
    whole = list(parts(promql_parser.parse(rule["expr"])))
    selectors = [part for part in whole if isinstance(part, promql_parser.VectorSelector)]
    assert {selector.name for selector in selectors} <= set(there)
    for selector in selectors:
        assert {matcher.name for matcher in selector.matchers.matchers} <= there[selector.name] | SCRAPED
    kept = {label for part in whole if isinstance(part, promql_parser.AggregateExpr) for label in part.modifier.labels}
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert named <= (kept or SCRAPED)
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+m", rule.get("for", "1m"))
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_states_in_alert_rules_are_those_of_metrics(families: dict[str, Any]) -> None:
    """A rule for a state that no metric has would never fire."""
    states = {sample.labels["state"] for sample in families["callback_sdk_hosts"].samples}
    statuses = {sample.labels["status"] for sample in families["callback_sdk_deliveries"].samples}
    text = " ".join(rule["expr"] for rule in RULES)
    assert set(re.findall(r'state="([\w-]+)"', text)) <= states
    assert set(re.findall(r'status="(\w+)"', text)) <= statuses
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_the_dashboard_shows_every_metric(families: dict[str, Any]) -> None:
    """None is counted in vain."""
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert [name for name in families if name not in shown] == []


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """The data source is chosen at import; panels have distinct ids and descriptions, and don't overlap."""
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD)
    assert set(re.findall(r"\$\{?(\w+)", text)) <= variables | {"__rate_interval", "__all"}
    assert {source["uid"] for source in _sources(DASHBOARD)} == {"${datasource}"}
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(panel["title"] and panel["description"] for panel in PANELS)
    cells = [cell for panel in PANELS for cell in _cells(**panel["gridPos"])]
    assert len(cells) == len(set(cells))
    assert all(0 <= x < 24 for x, _ in cells)


def _sources(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("datasource"), dict):
            yield node["datasource"]
        for child in node.values():
            yield from _sources(child)
    elif isinstance(node, list):
        for child in node:
            yield from _sources(child)


def _cells(*, x: int, y: int, w: int, h: int) -> Iterator[tuple[int, int]]:
    return ((column, row) for column in range(x, x + w) for row in range(y, y + h))
