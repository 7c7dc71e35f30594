"""Alerts of a service whose receivers, database and own process go down and come back."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from callback_sdk.testing import Postgres, WebhookReceiver
from tests.topology import Topology, imported_at_startup, kill_tree, wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def told(receiver: WebhookReceiver) -> list[tuple[str, str]]:
    documents = [json.loads(request.body) for request in receiver.accepted]
    return [(one["status"], one["kind"]) for document in documents for one in document["data"]["alerts"]]


def test_alerts_survive_the_service_and_its_database(tmp_path: Path) -> None:
    """Each problem is told once, and once that it has ended, although the service is killed in between."""
    with socket.socket() as taken:
        # Nobody accepts connections there.
        taken.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{taken.getsockname()[1]}/hook"
        _run(tmp_path, away)


def _run(tmp_path: Path, away: str) -> None:
    with WebhookReceiver(secret=SECRET) as receiver, Postgres() as server:
        settings = {"ALERT_URL": receiver.url, "ALERT_SECRETS": SECRET, "RETRY_DELAYS": "0.1s", "LEASE": "4s"}
        paths = [imported_at_startup("short_alerts", tmp_path / "site")]
        database = server.create_database()
        with Topology(
            tmp_path, "engine_jobs:registry", processes=1, database=database, settings=settings, paths=paths
        ) as topology:
            with topology.client() as client:
                client.run_algorithm_batch("sum", [{"a": [1]}] * 8, callbacks=[away], progress=False)
            wait_until(
                lambda: {kind for _, kind in told(receiver)} == {"circuit-open", "dead-deliveries"}, what="alerts"
            )
            kill_tree(topology.service)
            topology.start_service()
            server.kill()
            wait_until(lambda: ("firing", "database") in told(receiver), what="the alert about the database")
            kill_tree(topology.service)
            server.restart()
            topology.start_service()
            wait_until(lambda: ("resolved", "database") in told(receiver), what="the end of the outage")
    found = told(receiver)
    assert sorted(set(found)) == sorted(found), found
    assert ("resolved", "circuit-open") not in found
