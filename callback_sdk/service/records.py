"""What goes into the store and what comes out of it."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from callback_sdk.callbacks import Callback
from callback_sdk.models import JobResult


@define(frozen=True, kw_only=True)
class NewTask:
    """What is known of a task when it is accepted.

    Attributes:
        parameters: The algorithm's second argument.
        evaluate: Whether, or how, to evaluate.
        options: What else was asked for, kept for the record.
    """

    job_id: str
    algorithm: str
    version: str
    features_format: str
    parameters: dict[str, Any] = field(factory=dict, repr=False)
    evaluate: bool | dict[str, Any] = True
    options: dict[str, Any] = field(factory=dict)


@define(frozen=True, kw_only=True)
class Claim:
    """The right to run a task, until somebody claims it anew.

    Attributes:
        task: What to run.
        attempt: The claim's number; the store takes a result only with the latest.
    """

    task: NewTask
    attempt: int


@define(frozen=True, kw_only=True)
class Ending:
    """How a run ended.

    Attributes:
        success: Whether there is a file of results.
        error: Why not.
        spans: Where the members lie in that file.
        nulled: Numbers in it that became null.
        progress: What the run said last about its progress.
    """

    success: bool
    error: str | None = None
    spans: dict[str, list[int]] | None = None
    nulled: int = 0
    progress: dict[str, Any] | None = None


@define(frozen=True, kw_only=True)
class DeliveryClaim:
    """The right to make one attempt at a delivery.

    Attributes:
        delivery_id: Stable over all attempts.
        callback: Where to.
        job_id: The task.
        attempt: The try's number, from 1; for the task's own run see `run`.
        run: Number of the run that has the results.
        result: How the task ended, without its results.
        nulled: Numbers in the results that became null.
    """

    delivery_id: str
    callback: Callback
    job_id: str
    attempt: int
    run: int
    result: JobResult
    nulled: int
