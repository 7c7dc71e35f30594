"""`callback-sdk check`: what is known of a target without sending anything."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import typer

from callback_sdk.commands.options import AsJSON, takes_settings, writer_settings
from callback_sdk.commands.printing import moment, print_json, print_table
from callback_sdk.commands.target_argument import TargetArgument, read_targets
from callback_sdk.config.settings import STORAGE_ENDPOINTS

if TYPE_CHECKING:
    from callback_sdk.config.storage import WriterConfig
    from callback_sdk.redaction import Secret
    from callback_sdk.targets import Target, TargetSettings

EXIT_ERROR = 1


@takes_settings(STORAGE_ENDPOINTS, read=writer_settings)
def check(target: TargetArgument, *, config: WriterConfig, as_json: AsJSON = False) -> None:
    """Validate a target without sending anything: kind, expiry, request headers and warnings.

    Exit codes: 0 valid; 1 invalid, with the problem; 2 wrong usage. The output holds no credential.
    """
    settings = _settings(config)
    found = [_explained(item, settings) for item in read_targets(target)]
    if as_json:
        print_json([{name: _wire(value) for name, value in facts.items()} for facts in found])
    for facts in () if as_json else found:
        print_table((), [(name.upper().replace("_", " "), _shown(value)) for name, value in facts.items() if value])
    if any(facts["problem"] for facts in found):
        raise typer.Exit(EXIT_ERROR)


def _explained(item: Secret[Any], settings: TargetSettings) -> dict[str, Any]:
    """Return what is known of a target, with the first problem that a result would have there."""
    from callback_sdk.errors import TargetError
    from callback_sdk.targets import plan
    from callback_sdk.targets.callbacks import parse_callbacks

    now = datetime.now(timezone.utc)
    facts: dict[str, Any] = dict.fromkeys(("url", "kind", "method", "object", "expires_at", "expires_in"))
    facts |= {"headers": [], "fields": [], "warnings": [], "problem": None}
    try:
        (callback,) = parse_callbacks(item)
        facts["url"] = str(callback.url)
        target = plan(callback, settings)
        facts |= {"kind": target.kind, "method": target.method, "object": target.object_url("ID")}
        if target.expires_at is not None:
            left = target.expires_at - now
            facts |= {"expires_at": target.expires_at, "expires_in": left.total_seconds()}
        facts["warnings"] = list(target.warnings(now))
        facts |= _request(target, now)
    except TargetError as error:
        facts["problem"] = str(error)
    return facts


def _request(target: Target, now: datetime) -> dict[str, Any]:
    """Return the names of headers and of form fields that a document would be sent with."""
    from callback_sdk.documents.body import Body

    target.check(now=now)
    upload = target.upload(Body(b"{}"), delivery_id="ID", now=now)
    fields = target.callback.fields
    return {"headers": sorted(upload.headers.reveal()), "fields": list(fields.reveal()) if fields else []}


def _wire(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return f"{timedelta(seconds=abs(round(value)))}{' ago' if value < 0 else ''}"
    return str(value)


def _settings(config: WriterConfig) -> TargetSettings:
    from callback_sdk.targets import TargetSettings
    from callback_sdk.targets.providers import StorageProviders

    return TargetSettings(stores=StorageProviders.of(config.storage_endpoints))
