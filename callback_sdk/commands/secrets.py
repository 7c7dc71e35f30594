"""The commands of `callback-sdk secrets`: signing secrets of users' webhooks."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from callback_sdk.commands.options import STORAGE, AsJSON, takes_settings
from callback_sdk.commands.printing import print_json, print_line, print_outcome, print_table
from callback_sdk.commands.stores import open_store

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.redaction import Secret
    from callback_sdk.service.access.audit import Action
    from callback_sdk.service.store import Store

app = typer.Typer(
    name="secrets", help="Manage the secrets that sign webhooks of users' tasks.", no_args_is_help=True
)  # fmt: skip

_Name = Annotated[str, typer.Argument(help="Name of the user.", show_default=False)]


@app.command("create")
@takes_settings(*STORAGE)
def create(
    name: _Name,
    *,
    scheme: Annotated[
        Literal["v1", "v1a"],
        typer.Option(help="v1: a secret that the receiver gets; v1a: a key pair, whose public key the receiver gets."),
    ] = "v1",
    overlap: Annotated[
        str, typer.Option(metavar="DURATION", help="How long webhooks are signed with the earlier secret too.")
    ] = "24h",
    imported: Annotated[
        bool, typer.Option("--import", help="Ask for a secret that receivers already have, or read it from a pipe.")
    ] = False,
    config: ServiceConfig,
    as_json: AsJSON = False,
) -> None:
    """Create or rotate the signing secret of a user, and print what receivers need. It is shown only once.

    Webhooks of the user's tasks are signed with the new secret at once, and for the overlap with earlier ones too.
    """
    from callback_sdk.parsing import parse_duration
    from callback_sdk.service.access.signing_secrets import create_secret

    try:
        duration = timedelta(0) if overlap.strip().lower() == "none" else parse_duration(overlap)
    except ValueError:
        raise typer.BadParameter("Give a duration such as 24h, or none.", param_hint="--overlap") from None
    secret = _ask_secret() if imported else None
    with open_store(config) as store:
        user = store.users.by_name(name)
        created, value = create_secret(store, user, scheme=scheme, given=secret, overlap=duration)
        _record(store, config, "signing-secret-created", name, created.secret_id)
    shown = created.public_key or (value.reveal() if secret is None else None)
    if as_json:
        print_json({"name": name, "id": created.secret_id, "scheme": scheme, "value": shown})
    elif shown is not None:
        print_line(shown)


@app.command("list")
@takes_settings(*STORAGE)
def list_secrets(name: _Name, *, config: ServiceConfig, as_json: AsJSON = False) -> None:
    """List the secrets that sign webhooks of a user's tasks, newest first, without their values."""
    from callback_sdk.service.api.views import show_secret

    with open_store(config) as store:
        found = store.signing_secrets.of(store.users.by_name(name).user_id)
    shown = [show_secret(secret) for secret in found]
    if as_json:
        print_json(shown)
        return
    names = ("id", "scheme", "created_at", "expires_at", "public_key")
    heads = ("ID", "SCHEME", "CREATED", "UNTIL", "PUBLIC KEY")
    print_table(heads, ([secret[name] or "" for name in names] for secret in shown))


@app.command("revoke")
@takes_settings(*STORAGE)
def revoke(
    name: _Name,
    secret_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the secret.", show_default=False)],
    *,
    config: ServiceConfig,
    as_json: AsJSON = False,
) -> None:
    """Revoke a signing secret at once. Without another one, webhooks of the user's tasks are unsigned."""
    from callback_sdk.service.access.signing_secrets import revoke_secret

    with open_store(config) as store:
        revoke_secret(store, store.users.by_name(name), secret_id)
        _record(store, config, "signing-secret-revoked", name, secret_id)
    print_outcome(f"{secret_id} is revoked.", {"name": name, "id": secret_id, "revoked": True}, as_json=as_json)


def _record(store: Store, config: ServiceConfig, action: Action, owner: str, secret_id: str) -> None:
    """Write an entry to the audit log, which is on standard error, too, like the service's."""
    from callback_sdk.service.access.audit import AuditLog
    from callback_sdk.service.logs import log_to_stderr

    log_to_stderr(config.log_format)
    AuditLog(store.audit).record(action, None, owner=owner, via="command", secret_id=secret_id)


def _ask_secret() -> Secret[str]:
    from callback_sdk.redaction import Secret

    if sys.stdin.isatty():
        return Secret(typer.prompt("Secret", hide_input=True))
    return Secret(sys.stdin.readline().strip())
