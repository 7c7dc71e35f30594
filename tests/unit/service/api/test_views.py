"""callback_sdk.service.api.views: JSON of tasks."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callback_sdk.service.api.views import TaskView, show_new, show_task
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.store import Store, Submission, TaskRow
from callback_sdk.targets.callbacks import parse_callbacks

TARGETS = (
    "https://example.org/hook",
    "https://b.s3.eu-west-1.amazonaws.com/k?X-Amz-Signature=topsecret",
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aä☃\"'"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aä☃"), inner, max_size=3),
)
OBJECTS = st.dictionaries(st.text("aä☃", min_size=1), JSON, max_size=3)
TASKS = st.builds(
    TaskRow,
    job_id=st.builds(lambda: str(uuid.uuid4())),
    owner=st.just("anna"),
    kind=st.sampled_from(["predict", "fit"]),
    algorithm=st.text("aä☃", min_size=1),
    version=st.just("1.0.0"),
    features_format=st.sampled_from(["json", "parquet"]),
    parameters=OBJECTS,
    evaluate=st.booleans() | OBJECTS,
    options=OBJECTS,
    priority=st.integers(0, 9),
)
SUBMISSIONS = st.builds(
    lambda task, given, expires, targets_expire_at: Submission(
        task=task,
        targets=parse_callbacks([url for url, _ in given], [own for _, own in given]),
        expires=expires,
        targets_expire_at=targets_expire_at,
    ),
    TASKS,
    st.lists(st.tuples(st.sampled_from(TARGETS), OBJECTS), max_size=3),
    st.none() | st.floats(1, 1e8),
    st.none() | st.floats(1.8e9, 2.5e11),
)


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryStorage:
    """Return blob storage in an empty directory."""
    return DirectoryStorage(tmp_path / "blobs")


def shown(view: TaskView) -> Any:
    return json.loads(b"".join(view.chunks()))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(submission=SUBMISSIONS)
def test_a_new_task_has_the_same_json_as_a_stored_one(
    store: Store, blobs: DirectoryStorage, submission: Submission
) -> None:
    """The response to a submission equals that to a later query, without credentials."""
    if store.users.get("anna") is None:
        store.users.add("Anna", user_id="anna")
    (accepted,) = store.tasks.submit([submission])
    view = show_new(submission, accepted, blobs, owner="Anna")
    deliveries = store.deliveries.of(accepted.job_id)
    assert shown(view) == shown(show_task(store.tasks.get(accepted.job_id), deliveries, None, blobs))
    assert b"topsecret" not in b"".join(view.chunks())
