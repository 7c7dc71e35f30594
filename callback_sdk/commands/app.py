"""All commands of `callback-sdk` together."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from callback_sdk._version import __version__
from callback_sdk.commands import (
    algorithms,
    audit,
    check,
    database,
    deliveries,
    doctor,
    health,
    hosts,
    outbox,
    program,
    run,
    secrets,
    send,
    serving,
    sign,
    submit,
    tasks,
    users,
    workers,
)
from callback_sdk.commands.completion import words
from callback_sdk.commands.printing import print_line
from callback_sdk.config.reader import unknown_variables
from callback_sdk.redaction import without_credentials
from callback_sdk.text.escaping import escape

# Found by reflection, because newer versions of Typer include a copy of click in other modules.
_UsageError: Any = typer.BadParameter.__bases__[0]


EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 1
"""Exit code of shells for a command whose output nobody reads any more, such as that of `callback-sdk tasks | head`."""


class _Group(TyperGroup):
    """Commands whose usage errors quote arguments escaped, and URLs without credentials.

    Typer itself doesn't remove all terminal escape sequences.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _escape_usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _escape_usage_errors():
                return super().invoke(ctx)
        except BrokenPipeError:
            _discard_output()
            raise typer.Exit(EXIT_BROKEN_PIPE) from None


def _discard_output() -> None:
    """Discard buffered output: Python would print an error when it flushes at exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _escape_usage_errors() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        error.message = escape(without_credentials(error.message))
        raise


app = typer.Typer(
    name="callback-sdk",
    cls=_Group,
    help="Deliver job results to presigned S3 URLs, object stores and webhooks, with retries and receipts.",
    no_args_is_help=True,
    # Help and errors as plain text: frames would break paths and ids into lines, in pipes too.
    rich_markup_mode=None,
    # Tracebacks with local variables could show a credential.
    pretty_exceptions_enable=False,
)
app.add_typer(outbox.app)
app.add_typer(users.app)
app.add_typer(secrets.app)
app.add_typer(database.app)
app.add_typer(hosts.app)
app.command()(workers.workers)
app.command()(workers.pause_algorithm)
app.command()(workers.resume_algorithm)


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"callback-sdk {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    # Service and workers write the warnings to their log, and `doctor` has a line for each.
    for text in () if context.invoked_subcommand in ("serve", "worker", "doctor") else unknown_variables():
        print_line(f"Warning: {text}", err=True)


app.command()(serving.serve)
app.command()(serving.worker)
app.command()(health.health)
app.command()(doctor.doctor)
app.command()(run.run)
app.command("exec", context_settings=program.IGNORED)(program.execute)
app.command()(program.progress)
submit.add_to(app)
app.command()(tasks.tasks)
app.command()(deliveries.deliveries)
app.command()(deliveries.redeliver)
app.command()(tasks.cancel)
app.command()(audit.audit)
app.command()(algorithms.algorithms)
app.add_typer(sign.app)
app.command()(check.check)
app.command()(send.send)


@app.command()
def demo(
    *,
    bucket: Annotated[
        str | None, typer.Option(help="Your S3 bucket, instead of a local store.", show_default=False)
    ] = None,
    prefix: Annotated[str, typer.Option(help="Prefix of the keys in that bucket.")] = "callback-sdk-demo/",
    region: Annotated[str | None, typer.Option(help="Region of the bucket.", show_default=False)] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="URL of an S3-compatible store.", show_default=False)] = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="embedded|celery",
            help="celery: with a worker, a message broker and PostgreSQL.",
            autocompletion=words("embedded", "celery"),
        ),
    ] = "embedded",
) -> None:
    """Run one real task on local servers, with three callbacks, and show what arrives.

    A presigned PUT and a presigned POST go to an object store, the third callback to a webhook. The demo leaves no
    processes, files or objects behind. With --bucket it uses the credentials boto3 finds.
    """
    from callback_sdk.commands.demo import Place, run

    if engine not in ("embedded", "celery"):
        raise typer.BadParameter("Give embedded or celery.", param_hint="--engine")
    run(Place(bucket=bucket, prefix=prefix, region=region, endpoint_url=endpoint_url), engine)
