"""`callback-sdk exec`, as the list of commands shows it; `callback_sdk.cli` runs it without Typer."""

from __future__ import annotations

import typer

IGNORED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def execute(context: typer.Context) -> None:
    """Run any program, and deliver how it ended: callback-sdk exec --help."""
    from callback_sdk.program.main import main

    raise typer.Exit(main(context.args))
