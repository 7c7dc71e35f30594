"""The commands of `callback-sdk users`: users and API tokens of a service."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.options import STORAGE, AsJSON, takes_settings
from callback_sdk.commands.printing import print_json, print_line, print_outcome, print_table
from callback_sdk.commands.stores import open_store

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.service.access.audit import Action
    from callback_sdk.service.store import Store

MayRead = Annotated[
    bool,
    typer.Option("--may-read", help="Operator: also read results of other users' tasks, and send them elsewhere."),
]

app = typer.Typer(name="users", help="Manage users and API tokens.", no_args_is_help=True)


@app.command("add")
@takes_settings(*STORAGE)
def add_user(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password for login at /token/, or read it from a pipe.")
    ] = False,
    operator: Annotated[
        bool,
        typer.Option(
            "--operator",
            help="See tasks, deliveries, errors and logs of all users, cancel and redeliver, and operate the service.",
        ),
    ] = False,
    may_read: MayRead = False,
    config: ServiceConfig,
    as_json: AsJSON = False,
) -> None:
    """Create a user and print an API token. It is shown only once."""
    from callback_sdk.service.access.passwords import hash_password
    from callback_sdk.service.access.tokens import digest, new_api_token
    from callback_sdk.service.store.models import OPERATOR, USER

    _check_may_read(may_read=may_read, operator=operator)
    hashed = hash_password(_ask_password()) if password else None
    role = OPERATOR if operator else USER
    with open_store(config) as store:
        user = store.users.add(_name(name), password_hash=hashed, role=role, may_read=may_read)
        token = new_api_token()
        store.users.add_token(user.user_id, digest(token), label="users add")
        _record(config, store, "user-added", user.name, role=role, may_read=may_read or None)
        _record(config, store, "token-created", user.name)
    print_outcome(token.reveal(), {"name": user.name, "token": token.reveal()}, as_json=as_json)


@app.command("list")
@takes_settings(*STORAGE)
def list_users(*, config: ServiceConfig, as_json: AsJSON = False) -> None:
    """List all users."""
    with open_store(config) as store:
        found = store.users.all()
    shown = [
        {
            "name": user.name,
            "disabled": user.disabled,
            "password": user.password_hash is not None,
            "role": user.role,
            "may_read": user.may_read,
        }
        for user in found
    ]
    if as_json:
        print_json(shown)
        return
    print_table(
        ("NAME", "STATUS", "PASSWORD", "ROLE"),
        (
            (
                str(user["name"]),
                "disabled" if user["disabled"] else "enabled",
                "password" if user["password"] else "",
                f"{user['role']}{', may read' if user['may_read'] else ''}",
            )
            for user in shown
        ),
    )


@app.command("disable")
@takes_settings(*STORAGE)
def disable_user(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    config: ServiceConfig,
    as_json: AsJSON = False,
) -> None:
    """Disable a user and reject their tokens. Tasks already submitted still run and are delivered."""
    with open_store(config) as store:
        store.users.disable(name)
        _record(config, store, "user-disabled", name)
    print_outcome(f"{name} is disabled.", {"name": name, "disabled": True}, as_json=as_json)


@app.command("enable")
@takes_settings(*STORAGE)
def enable_user(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    config: ServiceConfig,
    as_json: AsJSON = False,
) -> None:
    """Enable a user again. API tokens are valid again; earlier sessions and access tokens aren't."""
    with open_store(config) as store:
        store.users.disable(name, disabled=False)
        _record(config, store, "user-enabled", name)
    print_outcome(f"{name} is enabled.", {"name": name, "disabled": False}, as_json=as_json)


@app.command("set-password")
@takes_settings(*STORAGE)
def set_password(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    config: ServiceConfig,
    as_json: AsJSON = False,
) -> None:
    """Set a password, from a prompt or a pipe. Earlier sessions, refresh tokens and access tokens end."""
    from callback_sdk.service.access.passwords import hash_password

    hashed = hash_password(_ask_password())
    with open_store(config) as store:
        store.users.set_password(name, hashed)
        _record(config, store, "password-changed", name)
    print_outcome(f"{name} has a new password.", {"name": name, "password": True}, as_json=as_json)


@app.command("create-token")
@takes_settings(*STORAGE)
def create_token(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    *,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Revoke all earlier tokens of the user and end all sessions.")
    ] = False,
    config: ServiceConfig,
    as_json: AsJSON = False,
) -> None:
    """Create another API token of a user and print it. It is shown only once."""
    from callback_sdk.service.access.tokens import digest, new_api_token
    from callback_sdk.service.store.users import FIRST_USER

    with open_store(config) as store:
        user = store.users.by_name(name)
        if revoke:
            store.users.revoke_tokens(user.user_id)
            _record(config, store, "tokens-revoked", user.name)
            if user.user_id == FIRST_USER:
                print_line(
                    "The token in the file token of the data directory is revoked too: write the new token to it.",
                    err=True,
                )
        token = new_api_token()
        store.users.add_token(user.user_id, digest(token), label="users create-token")
        _record(config, store, "token-created", user.name)
    print_outcome(token.reveal(), {"name": user.name, "token": token.reveal()}, as_json=as_json)


@app.command("set-role")
@takes_settings(*STORAGE)
def set_role(
    name: Annotated[str, typer.Argument(help="Name of the user.", show_default=False)],
    role: Annotated[str, typer.Argument(metavar="user|operator", help="The role.", show_default=False)],
    *,
    may_read: MayRead = False,
    config: ServiceConfig,
    as_json: AsJSON = False,
) -> None:
    """Make a user an operator or an ordinary user, from the next request on. Without --may-read, take that right away.

    An operator sees tasks, deliveries, errors and logs of all users, cancels and redelivers, and operates the service.
    """
    from callback_sdk.service.store.models import OPERATOR, USER

    if role not in (USER, OPERATOR):
        raise typer.BadParameter("Give user or operator.", param_hint="user|operator")
    _check_may_read(may_read=may_read, operator=role == OPERATOR)
    with open_store(config) as store:
        before = store.users.by_name(name).role
        store.users.set_role(name, role, may_read=may_read)
        _record(config, store, "role-changed", name, before=before, role=role, may_read=may_read or None)
    text = f"{name} is {'an operator' if role == OPERATOR else 'an ordinary user'}{' who may read' * may_read}."
    print_outcome(text, {"name": name, "role": role, "may_read": may_read}, as_json=as_json)


def _record(config: ServiceConfig, store: Store, action: Action, owner: str, **facts: Any) -> None:
    """Write an entry to the audit log, which is on standard error, too, like the service's."""
    import getpass

    from callback_sdk.service.access.audit import AuditLog
    from callback_sdk.service.logs import log_to_stderr

    log_to_stderr(config.log_format)
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        # The id of the process may have no name, as in containers.
        account = None
    AuditLog(store.audit).record(action, None, owner=owner, via="command", account=account, **facts)


def _check_may_read(*, may_read: bool, operator: bool) -> None:
    if may_read and not operator:
        raise typer.BadParameter("Only operators have this right.", param_hint="--may-read")


def _name(name: str) -> str:
    if not 1 <= len(name) <= 128 or not name.isprintable() or name != name.strip():
        raise typer.BadParameter("A name has 1 to 128 printable characters.", param_hint="NAME")
    return name


def _ask_password() -> Any:
    from callback_sdk.redaction import Secret

    if sys.stdin.isatty():
        return Secret(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return Secret(sys.stdin.readline().rstrip("\n"))
