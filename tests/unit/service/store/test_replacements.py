"""callback_sdk.service.store.replacements"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import boto3
import pytest
import sqlalchemy as sa

from callback_sdk import S3Signer
from callback_sdk.errors import CallbackParamError, InvalidTargetError
from callback_sdk.receipt import Receipt
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.store.deliveries import DeliveryStore
from callback_sdk.service.store.models import NewFile
from callback_sdk.service.store.replacements import NewTarget
from callback_sdk.service.store.rows import last_expiry
from callback_sdk.service.store.tables import deliveries, tasks
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from tests.signedurls import v4

OLD = f"https://b.s3.eu-central-1.amazonaws.com/old?{v4(date='20900101T000000Z', expires=60)}"
NEW = f"https://b.s3.eu-central-1.amazonaws.com/new?{v4(date='20900101T000000Z', expires=3600)}"
QUERY = v4(date="20900101T000000Z", expires=3600)
CLIENT = boto3.client("s3", region_name="eu-central-1", aws_access_key_id="AK", aws_secret_access_key="SK")
SIGNER = S3Signer("b", client=CLIENT)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def receipt(url: str) -> Receipt:
    return Receipt(
        target_kind="s3-put", url=url, status=200, size=1, sha256="0" * 64, started_at=NOW, finished_at=NOW
    )  # fmt: skip


def callback(url: str, param: dict[str, object] | None = None) -> Callback:
    (found,) = parse_callbacks(url, param)
    return found


def new(url: str, param: dict[str, object] | None = None) -> NewTarget:
    return NewTarget(target=plan(callback(url, param)))


@pytest.fixture
def delivery_id(store: Store) -> str:
    """Submit a task with one target."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    target = callback(OLD, {"run": 7})
    store.tasks.submit(
        [Submission(task=task, targets=(target,), features=b"[]", targets_expire_at=last_expiry([plan(target)]))]
    )
    return str(store.deliveries.of("1")[0]["delivery_id"])


def finish(store: Store) -> None:
    store.tasks.finish("1", store.tasks.claim("1", "w").attempt, RunOutcome(success=True, results=b"{}"))


def test_a_dead_delivery_gets_a_new_target(store: Store, cipher: CredentialCipher, delivery_id: str) -> None:
    """The same delivery, with the same document; nothing is left of the old credentials."""
    finish(store)
    claim = store.deliveries.claim(delivery_id, "w")
    assert claim is not None
    store.deliveries.record_failure(delivery_id, claim.attempt, "It has expired.", None)
    assert store.deliveries.redeliver("1", delivery_id, new(NEW))
    again = store.deliveries.claim(delivery_id, "w")
    assert again is not None
    assert (again.delivery_id, again.since_redelivery) == (delivery_id, 1)
    opened = store.deliveries.open(again)
    assert (opened.url.reveal(), opened.param) == (NEW, {"run": 7})
    with store.database.read() as connection:
        (encrypted,) = connection.execute(sa.select(deliveries.c.encrypted_target)).scalars()
    assert "/old" not in cipher.decrypt(encrypted).reveal()


def test_a_running_attempt_loses_its_claim(store: Store, delivery_id: str) -> None:
    """Its outcome isn't that of the new target, and the list of attempts says where the result may be."""
    finish(store)
    running = store.deliveries.claim(delivery_id, "w")
    assert running is not None
    assert store.deliveries.redeliver("1", delivery_id, new(NEW))
    store.deliveries.record_receipt(delivery_id, running.attempt, receipt(OLD))
    assert not store.deliveries.replace_target(running, new(OLD))
    (delivery,) = store.deliveries.of("1")
    assert (delivery["status"], delivery["receipt"], "/new" in delivery["url"]) == ("pending", None, True)
    again = store.deliveries.claim(delivery_id, "v")
    assert again is not None
    assert again.attempt > running.attempt
    store.deliveries.record_receipt(delivery_id, again.attempt, receipt(NEW))
    first, second = store.deliveries.attempts("1")
    assert "may have delivered the result to https://b.s3.eu-central-1.amazonaws.com/old" in first["error"]
    assert second["error"] is None
    (delivery,) = store.deliveries.of("1")
    assert delivery["status"] == "delivered"


def test_a_delivered_result_is_delivered_to_another_target(store: Store, delivery_id: str) -> None:
    """Its receipt stays until the new one."""
    finish(store)
    claim = store.deliveries.claim(delivery_id, "w")
    assert claim is not None
    store.deliveries.record_receipt(delivery_id, claim.attempt, receipt(OLD))
    assert store.deliveries.redeliver("1", delivery_id, new(NEW))
    (delivery,) = store.deliveries.of("1")
    assert (delivery["status"], delivery["receipt"]["url"]) == ("pending", OLD)


def test_the_target_of_a_queued_task_is_replaced(store: Store, delivery_id: str) -> None:
    """It isn't due before the task's end, and the task waits as long as the new target."""
    assert not store.deliveries.redeliver("1", delivery_id)
    assert store.deliveries.redeliver("1", delivery_id, new(NEW))
    with store.database.read() as connection:
        (expires_at,) = connection.execute(sa.select(tasks.c.targets_expire_at)).scalars()
    assert expires_at == last_expiry([plan(callback(NEW))])
    assert store.deliveries.claim(delivery_id, "w") is None
    finish(store)
    claim = store.deliveries.claim(delivery_id, "w")
    assert claim is not None
    assert store.deliveries.open(claim).url.reveal() == NEW


def test_a_target_can_not_change_the_document(store: Store, delivery_id: str) -> None:
    """Nothing is changed then."""
    finish(store)
    with pytest.raises(CallbackParamError):
        store.deliveries.redeliver("1", delivery_id, new(NEW, {"run": 8}))
    (delivery,) = store.deliveries.of("1")
    assert "/old" in delivery["url"]
    assert store.deliveries.redeliver("1", delivery_id, new(NEW, {"run": 7}))


@pytest.fixture
def two(store: Store) -> tuple[str, str]:
    """Submit a task whose two documents differ."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    targets = (callback(OLD, {"run": 1}), callback(f"https://b.s3.amazonaws.com/two?{QUERY}", {"run": 2}))
    store.tasks.submit([Submission(task=task, targets=targets, features=b"[]")])
    first, second = (str(row["delivery_id"]) for row in store.deliveries.of("1"))
    return first, second


def test_one_of_two_simultaneous_replacements_fails(store: Store, two: tuple[str, str]) -> None:
    """If both are one object: each alone would be accepted."""
    finish(store)
    together = threading.Barrier(2)

    def replace(delivery_id: str) -> bool:
        together.wait()
        try:
            return store.deliveries.redeliver("1", delivery_id, new(NEW))
        except InvalidTargetError:
            return False

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(replace, two)) == [False, True]
    assert sum("/new" in row["url"] for row in store.deliveries.of("1")) == 1


def test_an_issuer_s_target_is_compared_with_the_others(store: Store, two: tuple[str, str]) -> None:
    """As those of users are. The stored one is kept."""
    finish(store)
    claim = store.deliveries.claim(two[0], "w")
    assert claim is not None
    with pytest.raises(InvalidTargetError, match="the object of another target"):
        store.deliveries.replace_target(claim, new(f"https://s3.eu-central-1.amazonaws.com/b/two?{QUERY}"))
    assert "/old" in store.deliveries.of("1")[0]["url"]
    assert store.deliveries.replace_target(claim, new(NEW))
    (attempt, *_) = store.deliveries.attempts("1")
    assert "/new" in attempt["url"]


def test_output_files_below_a_prefix_are_compared(store: Store) -> None:
    """Those that the task has saved, except for one with a target of its own."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    (below,) = parse_callbacks([SIGNER.presign_prefix("runs/")])
    targets, names = (below, callback(OLD), callback(NEW, {"run": 2})), (None, "own", None)
    store.tasks.submit([Submission(task=task, targets=targets, output_names=names, features=b"[]")])
    document, own, other = (str(row["delivery_id"]) for row in store.deliveries.of("1"))
    attempt = store.tasks.claim("1", "w").attempt
    files = [NewFile(name=name, size=1, sha256="0" * 64, media_type="text/plain", data=b"x") for name in ("a", "own")]
    store.output_files.insert("1", attempt, files)
    store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}", output_attempt=attempt))
    (taken,) = parse_callbacks([SIGNER.presign_prefix("other/", document="a")])
    file = new(SIGNER.presign_put("runs/a").url)
    for delivery_id, target in ((own, file), (other, file), (document, NewTarget(target=plan(taken)))):
        with pytest.raises(InvalidTargetError, match=r"with the output file '(a|own)'"):
            store.deliveries.redeliver("1", delivery_id, target)
    assert store.deliveries.redeliver("1", other, new(SIGNER.presign_put("runs/own").url))


def test_a_target_that_no_key_opens_is_replaced(store: Store, delivery_id: str) -> None:
    """A new target is what helps when a key is lost."""
    finish(store)
    store.deliveries = DeliveryStore(store.database, CredentialCipher([new_key()]))
    assert store.deliveries.redeliver("1", delivery_id, new(NEW, {"run": 8}))
    claim = store.deliveries.claim(delivery_id, "w")
    assert claim is not None
    assert store.deliveries.open(claim).param == {"run": 8}
