"""Celery without the service: a task that computes, and one that delivers. As a script, it runs a worker."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import urllib3


def bare_app(broker: str) -> Any:
    """Return a Celery application with the two tasks."""
    from celery import Celery

    app = Celery("bare", broker=broker, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )
    pool = urllib3.PoolManager()

    @app.task(name="compute", shared=False)  # type: ignore[untyped-decorator]
    def compute(job_id: str, number: int, webhook: str) -> None:
        deliver.delay(job_id, number + 1, webhook)

    @app.task(name="deliver", shared=False)  # type: ignore[untyped-decorator]
    def deliver(job_id: str, predictions: int, webhook: str) -> None:
        body = json.dumps({"job_id": job_id, "status": "Finished", "results": {"predictions": predictions}})
        answer = pool.request("POST", webhook, body=body, headers={"Content-Type": "application/json"}, retries=False)
        if answer.status != 200:
            raise RuntimeError(f"The webhook answered {answer.status}.")

    return app


def main(broker: str, processes: str) -> None:
    """Run a worker."""
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")
    bare_app(broker).worker_main(["worker", f"--concurrency={processes}", f"--hostname={os.getpid()}@bare", *quiet])


if __name__ == "__main__":
    main(*sys.argv[1:])
