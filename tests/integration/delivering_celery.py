"""A Celery application whose tasks deliver their results; its broker is in the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import delivering_jobs
from celery import Celery

app = Celery("delivering", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)


@app.task(bind=True)
def run(self: Any, how: str, url: str, **options: Any) -> str:
    return delivering_jobs.run(how, url, self.request.id, **options)


@app.task(bind=True, autoretry_for=(ValueError,), max_retries=1, retry_backoff=False, default_retry_delay=0)
def run_twice(self: Any, url: str) -> str:
    """Fail in the first attempt, whose failure is not final."""
    attempt = self.request.retries
    return delivering_jobs.run(
        "raises" if attempt == 0 else "ends", url, self.request.id, error_is_final=attempt == self.max_retries
    )


@app.task(bind=True, reject_on_worker_lost=True)
def run_until_not_killed(self: Any, url: str, folder: str) -> str:
    """Be killed in the first attempt, after which the broker delivers the task again."""
    try:
        Path(folder).mkdir()
    except FileExistsError:
        return delivering_jobs.run("ends", url, self.request.id, death_is_final=False)
    return delivering_jobs.run("SIGKILL", url, self.request.id, death_is_final=False)
