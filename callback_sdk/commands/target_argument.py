"""The argument TARGET: a file, standard input, or a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from callback_sdk.redaction import Secret


TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help='A file with a URL, or with JSON: {"url": ..., "param": {...}}, a list of these, or what '
        "generate_presigned_post returns. - reads standard input. A URL is accepted, too, but other users of this "
        "machine see command lines.",
        show_default=False,
    ),
]


AsWebhook = Annotated[
    bool,
    typer.Option(
        "--webhook",
        help='Treat the URL as a webhook\'s although it looks like a signed URL, as {"webhook": true} in param does.',
    ),
]


NEW_TARGET_HELP = "A file with a new target, as callback-sdk check takes it; - reads standard input."


def read_new_target(where: str, *, count: int) -> Secret[Any]:
    """Return the new target of a delivery.

    Args:
        where: The option --target.
        count: Number of deliveries that are named.

    Raises:
        CallbackParamError: There is no target, or more than one.
    """
    from callback_sdk.config.target_files import read_targets
    from callback_sdk.errors import CallbackParamError

    if count != 1:
        raise typer.BadParameter("Give the id of one delivery: a target is for one.", param_hint="--target")
    found = read_targets(where)
    if len(found) != 1:
        raise CallbackParamError(f"There are {len(found)} targets in what was given.", hint="Give one.")
    return found[0]
