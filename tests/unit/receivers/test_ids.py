"""Ids of deliveries: one contract for memory, SQLite and Valkey."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import valkey as valkey_client

from callback_sdk.errors import ConfigurationError, MissingExtraError
from callback_sdk.receivers import DeliveryIds, MemoryIds, RedisIds, SQLiteIds
from callback_sdk.testing import Valkey
from tests.conftest import missing_server
from tests.forks import Child


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """Run a server."""
    try:
        server = Valkey()
    except MissingExtraError as error:
        missing_server(str(error))
    with server:
        yield server


@pytest.fixture(scope="module")
def valkey(server: Valkey) -> Iterator[Any]:
    """Return a client."""
    with redis.Redis.from_url(server.url) as client:
        yield client


Make = Callable[..., DeliveryIds]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return a function that opens the same storage again, where it has one."""
    if request.param == "memory":
        return MemoryIds
    if request.param == "sqlite":
        return lambda **options: SQLiteIds(tmp_path / "ids.sqlite3", **options)
    client = request.getfixturevalue("valkey")
    return lambda **options: RedisIds(client, prefix=f"{tmp_path}:", **options)


def test_a_delivery_is_claimed_once(make: Make) -> None:
    """Until it is completed, a copy finds it running; after that, done."""
    ids = make()
    assert [ids.claim("a", "1"), ids.claim("a", "2"), ids.claim("b", "3")] == ["new", "running", "new"]
    ids.complete("a", "1")
    assert [ids.claim("a", "4"), ids.claim("b", "5")] == ["done", "running"]


def test_a_released_delivery_can_be_claimed_again(make: Make) -> None:
    """Its handler has failed."""
    ids = make()
    ids.claim("a", "1")
    ids.release("a", "1")
    assert ids.claim("a", "2") == "new"


def test_only_the_own_claim_is_released(make: Make) -> None:
    """A handler that outlasted its lease must not end the claim of the next one, nor forget what is done."""
    ids = make()
    ids.claim("a", "2")
    ids.release("a", "1")
    assert ids.claim("a", "3") == "running"
    ids.complete("a", "2")
    ids.release("a", "2")
    assert ids.claim("a", "4") == "done"


def test_of_concurrent_claims_one_succeeds(make: Make) -> None:
    """Threads share the object."""
    ids = make()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: ids.claim("a", str(number)), range(64)))
    assert sorted(found) == ["new"] + ["running"] * 63


@pytest.mark.parametrize("make", ["sqlite", "redis"], indirect=True)
def test_ids_are_shared_and_outlive_the_object(make: Make) -> None:
    """Another process, or this one after a restart, finds them."""
    first = make()
    first.claim("a", "1")
    first.complete("a", "1")
    first.claim("b", "2")
    assert [make().claim("a", "3"), make().claim("b", "4")] == ["done", "running"]


@pytest.mark.parametrize("make", ["sqlite", "redis"], indirect=True)
def test_the_claim_of_a_dead_process_expires(make: Make) -> None:
    """The delivery is accepted again after the lease."""
    ids = make(lease=0.001)
    assert ids.claim("a", "1") == "new"
    while (found := ids.claim("a", "2")) == "running":
        pass
    assert found == "new"


@pytest.mark.parametrize("make", ["sqlite", "redis"], indirect=True)
def test_handled_deliveries_are_forgotten_after_their_time(make: Make) -> None:
    """So that the storage doesn't grow forever."""
    ids = make(keep=0.001)
    ids.claim("a", "1")
    ids.complete("a", "1")
    while (found := ids.claim("a", "2")) == "done":
        pass
    assert found == "new"


@pytest.mark.parametrize("make", ["memory", "sqlite"], indirect=True)
def test_the_last_deliveries_are_remembered(make: Make) -> None:
    """Up to the maximum; those that are being handled don't count."""
    ids = make(max_ids=3)
    ids.claim("running", "r")
    for number in range(10):
        ids.claim(str(number), "t")
        ids.complete(str(number), "t")
    assert ids.claim("running", "s") == "running"
    assert ids.claim("9", "u") == "done"
    assert [ids.claim(str(number), "u") for number in range(6)] == ["new"] * 6


@pytest.mark.parametrize("kind", [redis.Redis, valkey_client.Valkey])
@pytest.mark.parametrize("decode", [False, True])
def test_all_clients_are_supported(server: Valkey, tmp_path: Path, kind: Any, decode: bool) -> None:
    """Those of redis-py and valkey-py; `decode_responses=True` makes them return strings."""
    with kind.from_url(server.url, decode_responses=decode) as client:
        ids = RedisIds(client, prefix=f"{tmp_path}:")
        ids.claim("a", "1")
        ids.complete("a", "1")
        assert ids.claim("a", "2") == "done"
        ids.claim("b", "1")
        ids.release("b", "1")
        assert ids.claim("b", "2") == "new"


def test_redis_keys_expire(valkey: Any, tmp_path: Path) -> None:
    """No key is kept without a limit."""
    ids = RedisIds(valkey, prefix=f"{tmp_path}:", keep=60, lease=30)
    ids.claim("a", "1")
    assert 0 < valkey.pttl(f"{tmp_path}:a") <= 30_000
    ids.complete("a", "1")
    assert 30_000 < valkey.pttl(f"{tmp_path}:a") <= 60_000


def test_the_sqlite_file_is_private(tmp_path: Path) -> None:
    """And nothing else is left in its directory."""
    ids = SQLiteIds(tmp_path / "ids.sqlite3")
    ids.claim("a", "1")
    assert stat.S_IMODE((tmp_path / "ids.sqlite3").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["ids.sqlite3"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks only")
def test_forked_processes_share_the_file(tmp_path: Path) -> None:
    """An object that was used before the fork can be used after it, in both."""
    ids = SQLiteIds(tmp_path / "ids.sqlite3")
    ids.claim("b", "1")
    children = [Child(lambda: ids.claim("a", str(os.getpid()))) for _ in range(4)]
    assert sorted(child.result() for child in children) == ["new", "running", "running", "running"]
    assert [ids.claim("a", "2"), ids.claim("b", "2")] == ["running", "running"]


def test_foreign_files_are_rejected(tmp_path: Path) -> None:
    """A SQLite file of something else, another file, and a directory that doesn't exist."""
    with sqlite3.connect(tmp_path / "foreign") as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    (tmp_path / "text").write_text("not a database" * 1000)
    for name in ("foreign", "text", "missing/ids", "."):
        with pytest.raises(ConfigurationError, match="Give"):
            SQLiteIds(tmp_path / name)


def test_a_deleted_file_is_an_error(tmp_path: Path) -> None:
    """It is not created anew without its ids: the delivery is sent again, and not handled twice unnoticed."""
    ids = SQLiteIds(tmp_path / "ids.sqlite3")
    (tmp_path / "ids.sqlite3").unlink()
    with pytest.raises(sqlite3.OperationalError):
        ids.claim("a", "1")


@pytest.mark.parametrize(
    "options", [{"max_ids": 0}, {"max_ids": "7"}, {"keep": 0}, {"lease": "5m"}, {"lease": -1}], ids=str
)
def test_invalid_options_are_errors(tmp_path: Path, options: dict[str, Any]) -> None:
    """Early, and not at the first delivery."""
    with pytest.raises(ConfigurationError):
        SQLiteIds(tmp_path / "ids.sqlite3", **options)


def test_claims_do_not_take_longer_with_more_ids(tmp_path: Path) -> None:
    """Each looks at a few rows only: the plan of the query has no scan."""
    SQLiteIds(tmp_path / "ids.sqlite3")
    with sqlite3.connect(tmp_path / "ids.sqlite3") as connection:
        for query in (
            "SELECT token FROM ids WHERE delivery = ''",
            f"DELETE FROM ids WHERE expires_at <= {time.time()}",
            "DELETE FROM ids WHERE token IS NULL AND number <= (SELECT max(number) FROM ids) - 3",
        ):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
            assert any("SEARCH" in row[3] for row in plan), plan
    connection.close()
