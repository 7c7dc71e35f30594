"""The commands of `callback-sdk users`: users and API tokens of a service."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.options import STORAGE, AsJSON, takes_settings
from callback_sdk.commands.printing import print_json, print_line
from callback_sdk.commands.stores import open_store

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.service.access.audit import Action

app = typer.Typer(name="users", help="Manage users and API tokens.", no_args_is_help=True)


@app.command("add")
@takes_settings(*STORAGE)
def add_user(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password for login at /token/, or read it from a pipe.")
    ] = False,
    config: ServiceConfig,
) -> None:
    """Create a user and print an API token. It is shown only once."""
    from callback_sdk.service.access.passwords import hash_password
    from callback_sdk.service.access.tokens import digest, new_api_token

    hashed = hash_password(_ask_password()) if password else None
    with open_store(config) as store:
        user = store.users.add(_name(name), password_hash=hashed)
        token = new_api_token()
        store.users.add_token(user.user_id, digest(token), label="users add")
    _record(config, "user-added", user.name)
    _record(config, "token-created", user.name)
    print_line(token.reveal())


@app.command("list")
@takes_settings(*STORAGE)
def list_users(*, config: ServiceConfig, as_json: AsJSON = False) -> None:
    """List all users."""
    with open_store(config) as store:
        found = store.users.all()
    shown = [
        {"name": user.name, "disabled": user.disabled, "password": user.password_hash is not None} for user in found
    ]
    if as_json:
        print_json(shown)
        return
    for user in shown:
        facts = [word for word in ("disabled", "password") if user[word]]
        print_line(f"{user['name']}{'  ' if facts else ''}{', '.join(facts)}")


@app.command("disable")
@takes_settings(*STORAGE)
def disable_user(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    config: ServiceConfig,
) -> None:
    """Disable a user and reject their tokens. Tasks already submitted still run and are delivered."""
    with open_store(config) as store:
        store.users.disable(name)
    _record(config, "user-disabled", name)
    print_line(f"{name} is disabled.")


@app.command("enable")
@takes_settings(*STORAGE)
def enable_user(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    config: ServiceConfig,
) -> None:
    """Enable a user again. API tokens are valid again; earlier sessions and access tokens aren't."""
    with open_store(config) as store:
        store.users.disable(name, disabled=False)
    _record(config, "user-enabled", name)
    print_line(f"{name} is enabled.")


@app.command("set-password")
@takes_settings(*STORAGE)
def set_password(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    config: ServiceConfig,
) -> None:
    """Set a password, from a prompt or a pipe. Earlier sessions, refresh tokens and access tokens end."""
    from callback_sdk.service.access.passwords import hash_password

    hashed = hash_password(_ask_password())
    with open_store(config) as store:
        store.users.set_password(name, hashed)
    _record(config, "password-changed", name)
    print_line(f"{name} has a new password.")


@app.command("create-token")
@takes_settings(*STORAGE)
def create_token(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Revoke all earlier tokens of the user and end all sessions.")
    ] = False,
    config: ServiceConfig,
) -> None:
    """Create another API token of a user and print it. It is shown only once."""
    from callback_sdk.service.access.tokens import digest, new_api_token
    from callback_sdk.service.store.users import FIRST_USER

    with open_store(config) as store:
        user = store.users.named(name)
        if revoke:
            store.users.revoke_tokens(user.user_id)
            _record(config, "tokens-revoked", user.name)
            if user.user_id == FIRST_USER:
                print_line(
                    "The token in the file token of the data directory is revoked too: write the new token to it.",
                    err=True,
                )
        token = new_api_token()
        store.users.add_token(user.user_id, digest(token), label="users create-token")
    _record(config, "token-created", user.name)
    print_line(token.reveal())


def _record(config: ServiceConfig, action: Action, user: str) -> None:
    """Write a record to the audit log, which is on standard error like the service's."""
    from callback_sdk.service.access import audit
    from callback_sdk.service.logs import log_to_stderr

    log_to_stderr(config.log_format)
    audit.record(action, user, via="command")


def _name(name: str) -> str:
    if not 1 <= len(name) <= 128 or not name.isprintable() or name != name.strip():
        raise typer.BadParameter("A name has 1 to 128 printable characters.", param_hint="NAME")
    return name


def _ask_password() -> Any:
    from callback_sdk.redaction import Secret

    if sys.stdin.isatty():
        return Secret(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return Secret(sys.stdin.readline().rstrip("\n"))
