"""Shell completion of ids, algorithms and states.

A shell runs these functions at each press of the Tab key. They ask the service for at most a second, and only with a
token: a login with a password is slow, and failed ones are limited. After an error nothing is completed, because a
message would be printed into the command line.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from callback_sdk.commands.client_options import read_token
from callback_sdk.commands.states import STATES

if TYPE_CHECKING:
    from callback_sdk.client import Client

_TIMEOUT = 1.0
"""Seconds for the answer of the service."""

_MAX_JOBS = 50
"""Ids that a shell offers; older tasks are completed once their id has been begun."""

Completions = list[tuple[str, str]]
"""Words, each with a description that some shells show."""


def _asks_service(
    find: Callable[[Client, typer.Context, str], Iterable[tuple[str, str]]],
) -> Callable[[typer.Context, str], Completions]:
    """Make a completion of a function that gets a client."""

    def complete(ctx: typer.Context, incomplete: str) -> Completions:
        try:
            from callback_sdk.client.deadline import requests_end_by

            with _client(ctx) as client, requests_end_by(time.monotonic() + _TIMEOUT):
                return list(find(client, ctx, incomplete))
        except Exception:  # noqa: BLE001 - a traceback would be printed into the command line
            return []

    # Without `wraps`: Typer calls the function by its annotations.
    complete.__doc__ = find.__doc__
    return complete


@_asks_service
def complete_jobs(client: Client, ctx: typer.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the id of a task: the newest ones that begin with the text."""
    from callback_sdk.commands.states import state_of

    for task in client.get_tasks(id_prefix=incomplete.lower() or None, limit=_MAX_JOBS):
        yield task.job_id, f"{task.algorithm or ''} {state_of(task)}".strip()


@_asks_service
def complete_deliveries(client: Client, ctx: typer.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the id of a delivery of the task that the command line names."""
    from callback_sdk.commands.ids import full_job_id

    for delivery in client.get_deliveries(full_job_id(client, ctx.params["job_id"])):
        yield delivery.delivery_id, f"{delivery.status} {delivery.url}"


@_asks_service
def complete_algorithms(client: Client, ctx: typer.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name of an algorithm of the service."""
    for algorithm in client.get_algorithms():
        yield algorithm.id, algorithm.description or ""


def complete_states(incomplete: str) -> list[str]:
    """Complete the state of a task."""
    return [state for state in STATES if state.startswith(incomplete.lower())]


def words(*choices: str) -> Callable[[str], list[str]]:
    """Return a completion of fixed words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in choices if word.startswith(incomplete)]

    return complete


def _client(ctx: typer.Context) -> Client:
    """Return a client with the options before the word, and the environment, that makes each request once."""
    from callback_sdk.client import Client
    from callback_sdk.redaction import Secret

    return Client(
        ctx.params.get("url"),
        token=read_token(ctx.params.get("token_file")) or Secret(os.environ["CALLBACK_SDK_TOKEN"]),
        connect_timeout=_TIMEOUT,
        timeout=_TIMEOUT,
        retries=0,
    )
