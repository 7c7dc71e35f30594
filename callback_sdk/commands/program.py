"""`callback-sdk exec` and `progress`, as the list of commands shows them; they run without Typer."""

from __future__ import annotations

from typing import Annotated

import typer

IGNORED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def execute(context: typer.Context) -> None:
    """Run any program, and deliver how it ended: callback-sdk exec --help."""
    from callback_sdk.program.main import main

    raise typer.Exit(main(context.args))


def progress(
    fraction: Annotated[str, typer.Argument(metavar="FRACTION", help="Fraction done: 0.5 or 50%.")],
    message: Annotated[str, typer.Argument(metavar="[MESSAGE]", help="The current step.")] = "",
) -> None:
    """Report the progress of a program that callback-sdk exec runs."""
    from callback_sdk.program.progress import main

    raise typer.Exit(main([fraction, message]))
