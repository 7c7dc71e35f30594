"""The commands of `callback-sdk users`: who may use a service."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.options import AsJSON, Data, Database, settings
from callback_sdk.commands.printing import print_json, print_line
from callback_sdk.commands.stores import open_store

if TYPE_CHECKING:
    from callback_sdk.service.access.audit import Action

app = typer.Typer(name="users", help="Who may use a service.", no_args_is_help=True)


@app.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="What the user is called.", show_default=False)],
    *,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password, for log-in at /token/; or read it from a pipe.")
    ] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Make a user and print an API token, which nothing shows again."""
    from callback_sdk.service.access.passwords import hash_password
    from callback_sdk.service.access.tokens import digest, new_api_token

    hashed = hash_password(_ask_password()) if password else None
    with open_store(data, database) as store:
        user = store.users.add(_name(name), password=hashed)
        token = new_api_token()
        store.users.add_token(user.user_id, digest(token), label="users add")
    _record("user-added", user.name)
    _record("token-created", user.name)
    print_line(token.reveal())


@app.command("list")
def list_users(*, data: Data = None, database: Database = None, as_json: AsJSON = False) -> None:
    """Show all users."""
    with open_store(data, database) as store:
        found = store.users.all()
    shown = [{"name": user.name, "disabled": user.disabled, "password": user.password is not None} for user in found]
    if as_json:
        print_json(shown)
        return
    for user in shown:
        facts = [word for word in ("disabled", "password") if user[word]]
        print_line(f"{user['name']}{'  ' if facts else ''}{', '.join(facts)}")


@app.command("disable")
def disable_user(
    name: Annotated[str, typer.Argument(help="Whom.", show_default=False)],
    *,
    data: Data = None,
    database: Database = None,
) -> None:
    """Shut a user out: no token counts any more. What was submitted still ends and is delivered."""
    with open_store(data, database) as store:
        store.users.disable(name)
    _record("user-disabled", name)
    print_line(f"{name} is disabled.")


@app.command("enable")
def enable_user(
    name: Annotated[str, typer.Argument(help="Whom.", show_default=False)],
    *,
    data: Data = None,
    database: Database = None,
) -> None:
    """Let a user in again. API tokens count again; sessions and access tokens from before don't."""
    with open_store(data, database) as store:
        store.users.disable(name, disabled=False)
    _record("user-enabled", name)
    print_line(f"{name} is enabled.")


@app.command("password")
def set_password(
    name: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    *,
    data: Data = None,
    database: Database = None,
) -> None:
    """Ask for a new password, or read it from a pipe. Sessions, refresh and access tokens from before end."""
    from callback_sdk.service.access.passwords import hash_password

    hashed = hash_password(_ask_password())
    with open_store(data, database) as store:
        store.users.set_password(name, hashed)
    _record("password-changed", name)
    print_line(f"{name} has a new password.")


@app.command("token")
def new_token(
    name: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    *,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Revoke all tokens that the user had, and end all sessions.")
    ] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Print another API token of a user, which nothing shows again."""
    from callback_sdk.service.access.tokens import digest, new_api_token
    from callback_sdk.service.store.users import FIRST_USER

    with open_store(data, database) as store:
        user = store.users.named(name)
        if revoke:
            store.users.revoke_tokens(user.user_id)
            _record("tokens-revoked", user.name)
            if user.user_id == FIRST_USER:
                print_line("That of the file token in the service's data folder too: put the new one there.", err=True)
        token = new_api_token()
        store.users.add_token(user.user_id, digest(token), label="users token")
    _record("token-created", user.name)
    print_line(token.reveal())


def _record(action: Action, user: str) -> None:
    """Write to the audit log, which is on standard error here as a service's is."""
    from callback_sdk.service.access import audit
    from callback_sdk.service.logs import log_to_stderr

    log_to_stderr(settings().log_format)
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
