"""Metrics of a worker: the sums over its processes, including ended ones."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from callback_sdk.errors import ConfigurationError, MissingExtraError
from callback_sdk.service.supervision.health import open_health
from callback_sdk.testing import WebhookReceiver
from callback_sdk.testing.supervisor import free_ports
from tests.conftest import missing_server
from tests.topology import Topology, wait_until


def figures(port: int) -> dict[tuple[str, ...], float]:
    """Return samples by name and label values."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_metrics_are_sums_over_processes(
    request: pytest.FixtureRequest, tmp_path: Path, webhook: WebhookReceiver
) -> None:
    """A killed process doesn't reduce the counts."""
    try:
        broker = request.getfixturevalue("callback_valkey").url
    except MissingExtraError as error:
        missing_server(str(error))
    (port,) = free_ports(1)
    settings = {"METRICS_PORT": str(port)}
    runs, attempts = (
        ("callback_sdk_task_runs_total", "sum", "succeeded"),
        ("callback_sdk_delivery_attempts_total", "delivered"),
    )
    with (
        Topology(tmp_path, "traced_jobs:registry", engine="celery", broker=broker, settings=settings) as topology,
        topology.client() as client,
    ):
        for expected in (4, 8):
            client.run_algorithm_batch("sum", [{"a": [1]}] * 4, callbacks=[webhook.url], progress=False)
            webhook.wait_for(expected)
            wait_until(lambda expected=expected: figures(port).get(attempts) == expected, what="the count of attempts")
            assert figures(port)[runs] == expected
            assert topology.worker is not None
            for process in psutil.Process(topology.worker.pid).children():
                process.kill()


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    """Before any process is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(ConfigurationError, match="--metrics-port"),
            open_health("127.0.0.1", taken.getsockname()[1]),
        ):
            pass
