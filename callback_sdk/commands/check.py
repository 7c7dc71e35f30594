"""`callback-sdk check`: what is known of a target without sending anything."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.options import AsJSON, takes_settings, target_settings
from callback_sdk.commands.printing import moment, print_facts, print_json
from callback_sdk.commands.target_argument import AsWebhook, TargetArgument
from callback_sdk.config.settings import ALLOW_HOSTS, ALLOW_NETWORKS, STORAGE_ENDPOINTS
from callback_sdk.config.target_files import read_targets, split_output

if TYPE_CHECKING:
    from callback_sdk.config.storage import TargetConfig
    from callback_sdk.redaction import Secret, SecretURL
    from callback_sdk.targets import Target, TargetSettings
    from callback_sdk.transport.guard import AddressGuard

EXIT_INVALID = 1

RESOLUTION_TIMEOUT = 10.0
"""Seconds for the resolution of all hosts of one command."""

_UPLOAD = "upload of one object"

_UPLOADS = "upload of any objects below a prefix"

_UNTOLD = f"{_UPLOAD}, if it was signed for PUT, which the URL doesn't tell"

_TELLING = frozenset({"azure-blob", "gcs-resumable", "gcs-session", "supabase-put"})
"""Kinds of URLs that tell what they permit. Other signatures are made with the method, and don't show it."""

_UNSIGNED = frozenset({"webhook", "http-put"})


@takes_settings(STORAGE_ENDPOINTS, ALLOW_NETWORKS, ALLOW_HOSTS, read=target_settings)
def check(
    target: TargetArgument,
    *,
    resolve: Annotated[
        bool, typer.Option("--resolve/--no-resolve", help="Resolve the host, and check its addresses.")
    ] = True,
    webhook: AsWebhook = False,
    config: TargetConfig,
    as_json: AsJSON = False,
) -> None:
    """Validate a target without sending anything: kind, expiry, request headers, warnings and address.

    ISSUER is asked for a new target once this one has expired, which is no PROBLEM then.
    ADDRESS is whether a service with these settings may reach the host: allowed, rejected (SSRF protection),
    unresolvable, or not resolved. Only a PROBLEM makes a target invalid; a private address and other warnings don't.
    Exit codes: 0 valid; 1 invalid, with the problem; 2 wrong usage. The output holds no credential.
    """
    from callback_sdk.targets import TargetSettings
    from callback_sdk.targets.providers import StorageProviders
    from callback_sdk.transport.guard import AddressGuard

    settings = TargetSettings(
        stores=StorageProviders.of(config.storage_endpoints, [url for url, _ in config.aistore_clusters])
    )
    guard = AddressGuard(allow_networks=config.allow_networks, allow_hosts=config.allow_hosts)
    deadline = time.monotonic() + RESOLUTION_TIMEOUT if resolve else None
    items = read_targets(target, webhook=webhook)
    found = [_facts(item, settings, guard, deadline) for item in items]
    if as_json:
        print_json([{name: _json(value) for name, value in facts.items()} for facts in found])
    for facts in () if as_json else found:
        print_facts(_rows(facts))
    if any(facts["problem"] for facts in found):
        raise typer.Exit(EXIT_INVALID)


def _facts(item: Secret[Any], settings: TargetSettings, guard: AddressGuard, deadline: float | None) -> dict[str, Any]:
    """Return what is known of a target, with the first problem that a result would have there."""
    from callback_sdk.errors import TargetError
    from callback_sdk.redaction import Secret
    from callback_sdk.targets import plan
    from callback_sdk.targets.callbacks import parse_callbacks

    now = datetime.now(timezone.utc)
    names = (
        "url",
        "output",
        "kind",
        "provider",
        "method",
        "operation",
        "object",
        "parts",
        "outputs",
        "events",
        "expires_at",
        "expires_in",
        "issuer",
        "address",
    )
    facts: dict[str, Any] = dict.fromkeys(names)
    facts |= {"events": [], "headers": [], "fields": [], "warnings": [], "problem": None}
    try:
        facts["output"], item = split_output(item)
        (callback,) = parse_callbacks(Secret([item.reveal()]))
        facts["url"] = "results:…" if callback.is_results else str(callback.url)
        if callback.url.scheme in ("http", "https") and callback.url.host:
            in_cluster = settings.stores.in_cluster(callback.url)
            facts |= {"address": "allowed"} if in_cluster else _address(callback.url, guard, deadline)
        if callback.issuer is not None:
            issuer = callback.issuer.url
            facts |= {"issuer": str(issuer)}
            facts["warnings"] = [*facts["warnings"], *_address(issuer, guard, deadline).get("warnings", ())]
        target = plan(callback, settings)
        facts |= {"url": str(target.callback.url), **_description(target, now)}
        notes = target.provider.notes if target.provider is not None else ()
        facts["warnings"] += [*target.warnings(now), *target.assumptions(), *notes]
        target.check_events()
        target.check(now=now)
        facts["headers"] = _header_names(target, now)
    except TargetError as error:
        facts["problem"] = str(error)
    return facts


def _description(target: Target, now: datetime) -> dict[str, Any]:
    fields, parts = target.callback.fields, target.callback.parts
    end = target.expires_at
    return {
        "kind": target.kind,
        "provider": None if target.provider is None else str(target.provider),
        "method": target.method,
        "operation": _operation(target),
        "object": target.object_url("ID"),
        "parts": None if parts is None else f"{len(parts.urls)} of {parts.part_size} bytes",
        "outputs": _outputs(target),
        "events": _events(target),
        "expires_at": end,
        "expires_in": None if end is None else (end - now).total_seconds(),
        "fields": list(fields.reveal()) if fields is not None else [],
    }


def _outputs(target: Target) -> str | None:
    """Return the URL of an output file of any name; None for a target of one object."""
    from callback_sdk.targets.target import JSON

    return target.below("NAME", JSON).object_url("ID") if target.takes_outputs() else None


def _events(target: Target) -> list[str]:
    """Return the events that a target subscribes to; none for the default."""
    from callback_sdk.targets.members import DEFAULT_EVENTS, EVENT_NAMES

    events = target.callback.events
    return [] if events == DEFAULT_EVENTS else [name for name in EVENT_NAMES if name in events]


def _operation(target: Target) -> str | None:
    """Return what a target was signed for; None for a target without a signature."""
    if target.kind in _UNSIGNED:
        return None
    if target.takes_outputs():
        return _UPLOADS
    tells = target.method == "POST" or target.kind in _TELLING or target.callback.url.query("x-id") == "PutObject"
    return _UPLOAD if tells else _UNTOLD


def _address(url: SecretURL, guard: AddressGuard, deadline: float | None) -> dict[str, Any]:
    """Return whether a service may reach a host, with a warning if it may not."""
    from callback_sdk.errors import AddressNotAllowedError

    try:
        if deadline is None:
            guard.check(url)
            return {"address": "not resolved"}
        guard.resolve(url, deadline)
    except AddressNotAllowedError as error:
        return {"address": "rejected", "warnings": [f"A service with SSRF protection rejects this target: {error}"]}
    except OSError:
        warning = "The host can't be resolved here. If the service can't resolve it either, deliveries fail."
        return {"address": "unresolvable", "warnings": [warning]}
    return {"address": "allowed"}


def _header_names(target: Target, now: datetime) -> list[str]:
    """Return the names of the headers that a document would be sent with."""
    from callback_sdk.documents.body import Body

    # Not `upload`, which would check the size of a document that isn't known yet.
    headers, _ = target.request(Body(b"{}"), delivery_id="ID", now=now)
    return sorted(headers.reveal())


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in facts.items():
        if name == "warnings":
            rows += [("WARNING", warning) for warning in value]
        elif value:
            rows.append((name.upper().replace("_", " "), _text(value)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return f"{timedelta(seconds=abs(round(value)))}{' ago' if value < 0 else ''}"
    return str(value)
