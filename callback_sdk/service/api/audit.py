"""Route of the audit log, for operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query

from callback_sdk.models import filter_seconds
from callback_sdk.service.api import cursors, schemas
from callback_sdk.service.api.access import AppState, OperatorDep, StateDep
from callback_sdk.service.api.views import show_entry
from callback_sdk.service.store.audit import AuditFilter
from callback_sdk.service.store.models import AuditEntry

FILTERS = ("action", "actor", "owner", "job_id", "since", "until")

_Text = Annotated[str | None, Query(max_length=300, pattern=schemas.TEXT)]

router = APIRouter(prefix="/api/v2", tags=["operations"])


@router.get("/audit", response_model=schemas.AuditPage, responses=schemas.answers(401, 403, 422, 503))
def list_audit(
    state: StateDep,
    caller: OperatorDep,
    action: _Text = None,
    actor: _Text = None,
    owner: _Text = None,
    job_id: _Text = None,
    since: _Text = None,
    until: _Text = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=cursors.MAX_LENGTH)] = None,
) -> dict[str, Any]:
    given = {"action": action, "actor": actor, "owner": owner, "job_id": job_id, "since": since, "until": until}
    entries, following = find(state, given, limit=limit, cursor=cursor)
    return {"entries": [show_entry(entry) for entry in entries], "next_cursor": following}


def find(
    state: AppState, query: Mapping[str, str | None], *, limit: int, cursor: str | None
) -> tuple[list[AuditEntry], str | None]:
    """Return entries of the audit log, the newest first, and the cursor of the next page.

    Args:
        state: The application's state.
        query: Texts of the filters; see `FILTERS`.
        limit: Maximum number.
        cursor: The cursor of the page; None for the first one.

    Raises:
        HTTPException: 422 for an invalid cursor.
        InvalidRequestError: A time is invalid.
    """
    action, actor, owner, job_id, since, until = (query.get(name) or None for name in FILTERS)
    wanted = AuditFilter(
        action=action,
        actor=actor,
        owner=owner,
        job_id=job_id,
        since=filter_seconds("since", since),
        until=filter_seconds("until", until),
    )
    before = None if cursor is None else cursors.decode(cursor, int)[0]
    found = state.task_service.store.audit.page(wanted, before=before, limit=limit + 1)
    return found[:limit], cursors.encode(found[limit - 1].entry_id) if len(found) > limit else None
