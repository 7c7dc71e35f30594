"""callback_sdk.service.store.deliveries: targets that an earlier version accepted and this one can't use."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.tables import deliveries
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import v2

GOOD = f"https://b.s3.eu-west-1.amazonaws.com/good?{v2(expires=4000000000)}"

HOSTILE = {
    "a long label": f"https://s3-{'a-' * 40}.amazonaws.com/k",
    "many labels": f"https://{'s3.' * 2000}amazonaws.com/k",
    "a long URL": f"https://h/k?{'a=b&' * 100_000}",
    "combining characters": "https://a" + "\u0315\u0300" * 100_000,
    "a part of an upload": f"{GOOD}&partNumber=1&uploadId=u",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_stored_target_that_is_unusable_is_harmless(store: Store, cipher: CredentialCipher, name: str) -> None:
    """Its own delivery fails; `results_url` of another target of the task is still found."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json", priority=5)
    store.tasks.submit([Submission(task=task, targets=parse_callbacks(["https://h/k", GOOD]), features=b"[]")])
    first = store.deliveries.of("1")[0]["delivery_id"]
    plain = Secret(json.dumps({"url": HOSTILE[name], "param": {}}))
    change = deliveries.update().where(deliveries.c.delivery_id == first).values(encrypted_target=cipher.encrypt(plain))
    store.database.write(lambda connection: connection.execute(change))
    store.tasks.finish("1", store.tasks.claim("1", "w").attempt, RunOutcome(success=True, nulls_written=0))

    claim = store.deliveries.claim(first, "w")
    assert claim is not None
    if name != "a part of an upload":
        with pytest.raises(InvalidTargetError):
            store.deliveries.open(claim)
    assert store.deliveries.results_url("1") == GOOD.partition("?")[0]
    with store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(deliveries)).scalar() == 2
