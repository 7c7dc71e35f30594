"""The benchmarks still fit the package: each does its work once, in its smallest form and without foreign peers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import aistore, backlog, bulk, delivery, encoding, jobs, parts, signing, startup, submit, waiting
from benchmarks.__main__ import BENCHMARKS
from benchmarks.receiver import Receiver
from callback_sdk import Client, S3Signer
from callback_sdk.testing import LocalService, SeaweedFS

Run = Callable[..., dict[str, float]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a benchmark in this process and return its ratios."""

    def call(main: Callable[[], None], *arguments: str) -> dict[str, float]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments, "--rounds", "1", "--json"])
        main()
        ratios: dict[str, float] = json.loads(capsys.readouterr().out.splitlines()[-1])["ratios"]
        return ratios

    return call


def test_all_are_here() -> None:
    """A new benchmark needs a test below; `memory` has its own, in tests/acceptance."""
    tested = {
        module.__name__.rpartition(".")[2]
        for module in (aistore, backlog, bulk, delivery, encoding, jobs, parts, signing, startup, waiting)
    }
    assert {name.split()[0] for name in BENCHMARKS} == tested | {"submit", "memory"}


def test_backlog(run: Run) -> None:
    """Its databases are filled and worked on by the store of today."""
    ratios = run(backlog.main, "--sizes", "40,80", "--jobs", "1")
    assert set(ratios) == {"sqlite 1e1", "postgresql 1e1"}
    assert min(ratios.values()) > 0


def test_backlogs_have_the_size_that_they_are_said_to_have(tmp_path: Path) -> None:
    """Each task has features and one delivery, and the owners, priorities and algorithms are mixed."""
    with (
        backlog.backlogs([f"sqlite:///{tmp_path / 'database'}"], [200]) as (one,),
        one.store.database.read() as connection,
    ):
        rows = connection.execute(backlog.tables.tasks.select()).mappings().all()
        for table in (backlog.tables.task_payloads, backlog.tables.deliveries):
            assert {row.job_id for row in connection.execute(table.select())} == {row["job_id"] for row in rows}
    assert len(rows) == len({row["job_id"] for row in rows}) == 200
    assert len({row["owner"] for row in rows}) == backlog.USERS
    assert len({row["created_at"] for row in rows}) == 200
    assert {row["priority"] for row in rows} == {4, 5, 6}
    assert {row["algorithm"] for row in rows} == {"usual", "rare"}


def test_submit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch, and one request each."""
    monkeypatch.setattr(submit, "SINGLE", 2)
    assert set(run(submit.main, "--tasks", "3")) == {"one request each"}


def test_waiting(run: Run) -> None:
    """All clients learn of the end of their tasks."""
    ratios = run(waiting.main, "--clients", "3", "--seconds", "0.1")
    assert set(ratios) == {"CPU while idle, beside all cores", "longest delay, beside 1 s"}


def test_jobs() -> None:
    """One request each and a batch, to the embedded engine; each job's result to its webhook."""
    with (
        Receiver() as receiver,
        LocalService("benchmarks.jobs:registry", processes=1) as service,
        Client(service.url, token=service.token) as client,
    ):
        for done, case in enumerate(jobs.ours(receiver, 2, service, client), 1):
            case.run()
            # The documents differ by the ids of their jobs only.
            assert receiver.count.value == 2 * done


def test_signing() -> None:
    """The measured URLs equal botocore's byte for byte."""
    signing.check(*signing.signers(), ["runs/1.json", "runs/2.json"])


def test_delivery(seaweedfs: SeaweedFS) -> None:
    """All contestants that the tests have, one by one and at once, to the same objects."""
    with delivery.Contest(seaweedfs, delivery.AT_ONCE) as contest:
        contestants = [case for case in (*contest.one_by_one(), *contest.at_once()) if "obstore" not in case.name]
        for case in contestants:
            case.run()
        assert len(contestants) == 11
        listed = contest.client.list_objects_v2(Bucket=contest.bucket)["Contents"]
    assert {found["Key"] for found in listed} == set(contest.keys)


@pytest.mark.parametrize("name", encoding.MAKERS)
def test_encoding(
    name: str, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The documents are right, and one of them is delivered."""
    monkeypatch.setattr(encoding, "FLOATS", 100)
    monkeypatch.setattr(encoding, "RECORDS", 10)
    results = encoding.MAKERS[name]()
    encoding.check(name, results)
    assert set(encoding.contest(results, 1)) == {"document", "json.dumps", "bare orjson"}
    target = S3Signer(seaweedfs.create_bucket(), client=seaweedfs.client()).presign_put("results.json")
    encoding.deliver(name, target.url)
    assert json.loads(capsys.readouterr().out)[0] == encoding.ours(results)[0].size


def test_parts(seaweedfs: SeaweedFS) -> None:
    """All contestants that the tests have make an object of as many parts."""
    with parts.contest(seaweedfs, 2 * parts.PART_SIZE + 1) as contest:
        contestants = [case for case in contest.cases() if "obstore" not in case.name]
        for case in contestants:
            case.run()
        assert len(contestants) == 2
        assert "Contents" not in contest.client.list_objects_v2(Bucket=contest.bucket)


def test_bulk() -> None:
    """All contestants that the tests have send as many results as there are URLs."""
    with bulk.discarding_store() as url, contextlib.closing(bulk.Contest(url, 16)) as contest:
        contestants = [case for case in contest.cases() if "obstore" not in case.name]
        for case in contestants:
            case.run()
        assert len(contestants) == 5
        assert [case.count for case in contestants] == [16] * 5


def test_aistore() -> None:
    """Each client stores and reads objects of the size that it is said to have."""
    with aistore.Servers() as servers:
        for client in aistore.contestants(servers).values():
            aistore.put(client, 10_000, 2)()
            aistore.get(client, 10_000, 2)()
            assert len(client.get_object(Bucket="b", Key="10000/1")["Body"].read()) == 10_000
            client.close()


def test_startup(seaweedfs: SeaweedFS) -> None:
    """Every measured command does what it is measured for."""
    target = S3Signer(seaweedfs.create_bucket(), client=seaweedfs.client()).presign_put("results.json")
    for arguments in startup.commands(target.url).values():
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=60)
