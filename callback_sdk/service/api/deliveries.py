"""Routes of the deliveries of all tasks: find them by a filter, and redeliver them page by page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Annotated, Any

from attrs import define, evolve
from fastapi import APIRouter, Depends, Query

from callback_sdk.errors import CallbackSDKError, TargetExpiredError
from callback_sdk.models import DeliveryFilter
from callback_sdk.service.access.caller import Caller
from callback_sdk.service.api import cursors, schemas
from callback_sdk.service.api.access import AppState, CallerDep, StateDep, recorded_list, requested_owner
from callback_sdk.service.api.replacement import plan_stored
from callback_sdk.service.api.views import show_found
from callback_sdk.service.store.bulk_redelivery import Position
from callback_sdk.service.store.cipher import CredentialCipherError
from callback_sdk.targets.callbacks import Callback

_EXPIRED_HINT = (
    "Presign a new one, and replace the target: callback-sdk redeliver --targets FILE. With an issuer (refresh) in its "
    "callback_param, a target is renewed when it has expired."
)

_Text = Annotated[str | None, Query(max_length=300, pattern=schemas.TEXT)]

router = APIRouter(prefix="/api/v2", tags=["deliveries"])


def _filter_of(
    status: Annotated[schemas.DeliveryState | None, Query()] = None,
    host: _Text = None,
    algorithm: _Text = None,
    user: _Text = None,
    since: _Text = None,
    until: _Text = None,
    error: _Text = None,
) -> DeliveryFilter:
    """Return the filter of a query.

    Raises:
        InvalidRequestError: A value is invalid.
    """
    texts = {"status": status, "host": host, "algorithm": algorithm, "user": user, "error": error}
    return DeliveryFilter.from_dict({**texts, "since": since, "until": until})


@router.get("/deliveries", response_model=schemas.DeliveryPage, responses=schemas.answers(401, 403, 422, 503))
def find_deliveries(
    state: StateDep,
    caller: CallerDep,
    wanted: Annotated[DeliveryFilter, Depends(_filter_of)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=cursors.MAX_LENGTH)] = None,
) -> dict[str, Any]:
    found, following = find(state, caller, wanted, limit=limit, cursor=cursor)
    return {"deliveries": [show_found(row) for row in found], "next_cursor": following}


def find(
    state: AppState, caller: Caller, wanted: DeliveryFilter, *, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows of deliveries of ended tasks, those of the latest tasks first, and the cursor of the next page.

    Args:
        state: The application's state.
        caller: Who asks; operators find the deliveries of all users.
        wanted: Selects deliveries.
        limit: Maximum number.
        cursor: The cursor of the page; None for the first one.

    Raises:
        HTTPException: 403 if the caller may not see the deliveries of the user that is wanted, 422 for an unknown user
            or an invalid cursor.
    """
    after = None if cursor is None else Position(*cursors.decode(cursor, float, str))
    owner = requested_owner(state, caller, wanted.user)
    found = state.task_service.store.bulk_redelivery.page(wanted, owner=owner, after=after, limit=limit + 1)
    shown, last = found[:limit], found[limit - 1] if len(found) > limit else None
    recorded_list(state, caller, "deliveries-listed", shown)
    return shown, None if last is None else cursors.encode(last["task_finished_at"], last["delivery_id"])


@router.post(
    "/deliveries/redeliver",
    status_code=202,
    response_model=schemas.RedeliveryResponse,
    responses=schemas.answers(400, 401, 403, 413, 422, 503),
)
def redeliver_found(state: StateDep, caller: CallerDep, body: schemas.RedeliveryRequest) -> dict[str, Any]:
    wanted = DeliveryFilter.from_dict(body.model_dump(exclude={"limit", "cursor", "dry_run"}))
    page = redeliver(state, caller, wanted, limit=body.limit, cursor=body.cursor, dry_run=body.dry_run)
    return {
        "total": page.total,
        "due": len(page.due),
        "held": page.held,
        "hosts": Counter(row["host"] for row in page.due),
        "skipped": [
            {**show_found(row), "object_url": page.object_urls.get(row["delivery_id"]), **_problem(problem)}
            for row, problem in page.skipped
        ],
        "next_cursor": page.next_cursor,
    }


@define(frozen=True, kw_only=True)
class BulkRedelivery:
    """The outcome of a page of a bulk redelivery.

    Attributes:
        total: Number of deliveries that the filter selects; only of the first page.
        due: Rows of the deliveries that are due now.
        held: Number of these that wait for a host that is paused or fails.
        skipped: Rows of deliveries that no attempt can complete, with the reason.
        object_urls: URLs of their objects, without signatures, by the ids of the deliveries.
        next_cursor: Cursor of the next page; None after the last one.
    """

    total: int | None
    due: Sequence[Mapping[str, Any]]
    held: int
    skipped: Sequence[tuple[Mapping[str, Any], CallbackSDKError]]
    object_urls: Mapping[str, str | None]
    next_cursor: str | None


def redeliver(
    state: AppState,
    caller: Caller,
    wanted: DeliveryFilter,
    *,
    limit: int,
    cursor: str | None = None,
    dry_run: bool = False,
) -> BulkRedelivery:
    """Redeliver a page of the deliveries that a filter selects. A repeated request redelivers none of them twice.

    Deliveries of tasks that end after the first page are not in the following ones, so that their number is finite.

    Args:
        state: The application's state.
        caller: Who asks; operators redeliver the deliveries of all users.
        wanted: Selects deliveries.
        limit: Maximum number.
        cursor: The cursor of the page; None for the first one.
        dry_run: Whether to change nothing.

    Raises:
        HTTPException: See `find`.
    """
    store = state.task_service.store
    owner = requested_owner(state, caller, wanted.user)
    moment = store.clock()
    after, end = _start(cursor) or (None, moment)
    end = min(max(end, 0.0), moment)
    until = datetime.fromtimestamp(end, timezone.utc)
    selected = evolve(wanted, until=until if wanted.until is None else min(wanted.until, until))
    total = store.bulk_redelivery.count(selected, owner=owner) if cursor is None else None
    object_urls: dict[str, str | None] = {}
    checked_at = datetime.now(timezone.utc)

    def check(delivery_id: str, callback: Callback) -> None:
        target = plan_stored(callback, state.rules)
        if target is not None and callback.issuer is None and target.has_expired(checked_at):
            object_urls[delivery_id] = target.object_url(delivery_id)
            target.check_expiry(checked_at)

    page = store.bulk_redelivery.redeliver(
        selected,
        owner=owner,
        after=after,
        limit=limit,
        check=check,
        dry_run=dry_run,
    )
    held: Collection[str] = ()
    if not dry_run:
        held = store.deliveries.hold_blocked([row["delivery_id"] for row in page.due])
        state.task_service.runtime.wakeup.set()
        _record(state, caller, wanted, page.due)
    following = None if page.next is None else cursors.encode(page.next.task_finished_at, page.next.delivery_id, end)
    return BulkRedelivery(
        total=total, due=page.due, held=len(held), skipped=page.skipped, object_urls=object_urls, next_cursor=following
    )


def _start(cursor: str | None) -> tuple[Position, float] | None:
    """Return where a page begins, and the time of the first page; None for the first page."""
    if cursor is None:
        return None
    finished_at, delivery_id, end = cursors.decode(cursor, float, str, float)
    return Position(finished_at, delivery_id), end


def _record(state: AppState, caller: Caller, wanted: DeliveryFilter, due: Sequence[Mapping[str, Any]]) -> None:
    by_owner: dict[str | None, list[str]] = defaultdict(list)
    for row in due:
        by_owner[row["owner_name"]].append(row["delivery_id"])
    for owner, delivery_ids in by_owner.items():
        state.audit.record_action(
            "redelivered", caller, owner=owner, delivery_ids=delivery_ids, filter=wanted.to_dict()
        )


def _problem(problem: CallbackSDKError) -> dict[str, str]:
    if isinstance(problem, TargetExpiredError):
        return {"reason": "expired", "problem": f"{problem.message} {_EXPIRED_HINT}"}
    return {
        "reason": "unreadable" if isinstance(problem, CredentialCipherError) else "invalid",
        "problem": str(problem),
    }
