"""What the commands of the client share: the options of the connection, and parameters as JSON or as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from callback_sdk.client import Client
    from callback_sdk.redaction import Secret

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="URL of the service's API. [env var: CALLBACK_SDK_URL]", show_default=False
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File with the token. Default: CALLBACK_SDK_TOKEN, or CALLBACK_SDK_USERNAME and CALLBACK_SDK_PASSWORD.",
        show_default=False,
    ),
]
Parameters = Annotated[
    str | None,
    typer.Option(
        "--parameters",
        metavar="FILE|JSON",
        help="The parameters: a JSON file, or a JSON object such as '{\"exponent\": 2}'.",
        show_default=False,
    ),
]


def open_client(url: str | None, token_file: Path | None) -> Client:
    """Return a client with the options of a command, and the environment for options that are not given."""
    from callback_sdk.client import Client

    return Client(url, token=read_token(token_file))


def read_token(file: Path | None) -> Secret[str] | None:
    """Return the token in a file; None for no file."""
    from callback_sdk.redaction import Secret

    # Tokens are ASCII. For other content the client raises its own error.
    return None if file is None else Secret(file.read_bytes().decode("ascii", "replace").strip())


def read_parameters(text: str | None) -> dict[str, Any] | None:
    """Return the parameters: of a JSON object, or of the file that the text names; None for no text.

    Raises:
        typer.BadParameter: What is given is not a JSON object.
        ParametersError: There is no such file.
        OSError: The file can't be read.
    """
    from callback_sdk.documents.decoding import decode
    from callback_sdk.errors import ParametersError

    if text is None:
        return None
    is_json = text.lstrip().startswith("{")
    what = "The text" if is_json else text
    try:
        found = decode(text.encode() if is_json else Path(text).read_bytes())
    except FileNotFoundError:
        raise ParametersError(
            f"The file of parameters {text} doesn't exist.",
            hint="Give the path of a JSON file, or a JSON object such as '{\"exponent\": 2}'.",
        ) from None
    except ValueError as error:
        hint = " In a shell, quote it: '{\"exponent\": 2}'." if is_json else ""
        raise typer.BadParameter(f"{what} is not JSON: {error}.{hint}", param_hint="--parameters") from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{what} is not a JSON object.", param_hint="--parameters")
    return found
