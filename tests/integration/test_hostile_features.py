"""Features that expand when they are read: their run fails within its memory limit."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet
import pytest
import requests

from tests.topology import Topology, wait_until

MILLION = 1_000_000
LIMIT = 300 * MILLION
LARGEST_RUN = 3 * LIMIT
PREDICT = "/api/v2/algorithms/{}/predict"
TASK = "/api/v2/algorithms/tasks/{}"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a run takes is read from /proc")


def parquet_of(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(pa.table({"a": array}), file, compression="zstd", store_schema=False, **options)
    return file.getvalue()


def repeated_text(rows: int = MILLION, length: int = 10_000) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array(["x" * length]))


def one_list(values: Any) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


BOMBS: dict[str, Callable[[], bytes]] = {
    "one text in all rows": lambda: parquet_of(repeated_text(), row_group_size=MILLION),
    "one text in all members": lambda: parquet_of(
        pa.StructArray.from_arrays([repeated_text()], names=["s"]), row_group_size=MILLION
    ),
    "one list of nulls": lambda: parquet_of(one_list(pa.nulls(45 * MILLION, pa.int64()))),
    "one list of one number": lambda: parquet_of(one_list(pa.repeat(pa.scalar(7, pa.int64()), 45 * MILLION))),
    "one page of zeros": lambda: parquet_of(
        pa.array([bytes(400 * MILLION)]), use_dictionary=False, write_statistics=False
    ),
}


class Service:
    """The service, and the memory of its runs.

    Args:
        topology: It, running.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._address = (topology.data / "address").read_text().strip()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {(topology.data / 'token').read_text().strip()}"

    def run(self, features: bytes, algorithm: str = "sum") -> Any:
        """Submit a task, and return it when it has ended."""
        files = {"features": ("f", features)}
        answer = self._session.post(self._address + PREDICT.format(algorithm), files=files, timeout=60)
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["job_id"]
        wait_until(lambda: self._task(job_id)["status"] == "Finished", what="a task's end")
        return self._task(job_id)

    def largest_run(self) -> int:
        """Return the most bytes that a process which still runs ever had in memory, the service's own included."""
        family = psutil.Process(self._topology.service.pid)
        return max(_peak(process.pid) for process in (family, *family.children(recursive=True)))

    def _task(self, job_id: str) -> Any:
        return self._session.get(self._address + TASK.format(job_id), timeout=60).json()


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(dict(line.split(":") for line in status.splitlines())["VmHWM"].split()[0]) * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with a default memory limit, and algorithms without limits."""
    settings = {"MEMORY_LIMIT": f"{LIMIT}B"}
    folder = tmp_path_factory.mktemp("bombs")
    with Topology(folder, "engine_jobs:registry", processes=1, settings=settings) as topology:
        yield Service(topology)


@pytest.mark.parametrize("name", BOMBS)
def test_features_that_expand_end_their_run_only(service: Service, name: str) -> None:
    """The footer of the small file doesn't reveal its size. The task fails with a clear error, and others run."""
    data = BOMBS[name]()
    assert len(data) < 40_000
    task = service.run(data)
    assert task["success"] is False
    # Whichever sees it first: the allocation that is refused, or the look at what the run takes.
    assert "300.0 MB" in task["error"]
    assert "Send fewer rows" in task["error"] or "CALLBACK_SDK_MEMORY_LIMIT" in task["error"]
    assert service.largest_run() < LARGEST_RUN
    assert service.run(b'{"a": [1, 2]}')["predictions"] == {"a": 3}


def test_a_run_has_a_default_memory_limit(service: Service) -> None:
    """An algorithm that allocates more and more is killed, and the delivered error names the limit of the service."""
    task = service.run(b'{"a": [1]}', "hoarder")
    assert task["success"] is False
    assert "of memory (limit 300.0 MB). That is the service's limit for each run" in task["error"]
    assert "CALLBACK_SDK_MEMORY_LIMIT" in task["error"]
    assert service.run(b'{"a": [1, 2]}')["predictions"] == {"a": 3}
