"""callback_sdk.service.work.task_events"""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.service.store import Store, Submission, TaskRow
from callback_sdk.service.work.task_events import TaskEvents
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.testing import WebhookReceiver
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.writer import attempts_of


def test_progress_is_sent_after_the_interval_or_at_the_end(store: Store) -> None:
    """The first at once, of those within the interval the last one, which the end doesn't wait for."""
    with WebhookReceiver() as receiver, ResultsWriter() as writer:
        events = TaskEvents(store, attempts_of(writer), timedelta(hours=1))
        task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
        targets = parse_callbacks(receiver.url, {"events": ["progress", "completed"]})
        store.tasks.submit([Submission(task=task, targets=targets, features=b"[]")])
        claim = store.tasks.claim("1", "w")
        assert claim is not None
        run = events.open(claim)
        assert run is not None
        run.report({"fraction": 0.1, "message": ""})
        receiver.wait_for(1)
        for fraction in (0.2, 0.3):
            run.report({"fraction": fraction, "message": ""})
        run.events.close()
        sent = [request.document["progress"]["fraction"] for request in receiver.requests]
    assert sent == [0.1, 0.3]
