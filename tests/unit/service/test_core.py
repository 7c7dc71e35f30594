"""callback_sdk.service.core: whether the service can work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk.redaction import Secret
from callback_sdk.service.algorithms.registry import load
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.core import TaskService
from callback_sdk.service.dispatcher import Dispatcher
from callback_sdk.service.engines import EngineOptions, open_engine
from callback_sdk.service.engines.embedded import EmbeddedEngine
from callback_sdk.service.engines.errors import EngineError
from callback_sdk.service.files import Scratch
from callback_sdk.service.housekeeping import Housekeeper
from callback_sdk.service.runtime import DeliveryConfig, Runtime
from callback_sdk.service.store import Store, open_database
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.supervision import threads
from callback_sdk.service.supervision.threads import ThreadError
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.transport.guard import AddressGuard
from tests.topology import wait_until

LOOPS = {
    "dispatcher": (Dispatcher, "_run_round"),
    "housekeeper": (Housekeeper, "run_round"),
    "claims": (Heartbeat, "_run_round"),
    "worker-0": (EmbeddedEngine, "_work"),
    "saver-0": (EmbeddedEngine, "_save"),
}
"""What each thread of a service with the embedded engine does in a round."""


@contextmanager
def running_hub(folder: Path) -> Iterator[TaskService]:
    """Run a service that runs tasks itself."""
    name = "engine_jobs:registry"
    cipher = CredentialCipher([new_key()])
    store = Store(open_database(Secret(f"sqlite:///{folder / 'store.sqlite3'}")), cipher)
    runtime = Runtime(
        registry=load(name),
        registry_name=name,
        cipher=cipher,
        store=store,
        blobs=DirectoryStorage(folder / "blobs"),
        scratch=Scratch(folder / "scratch"),
        temporary=Scratch(folder / "temporary"),
        delivery=DeliveryConfig(guard=AddressGuard()),
    )
    options = EngineOptions(instance="x", processes=1, shutdown_timeout=timedelta(0))
    with open_engine("embedded", runtime, options) as engine:
        task_service = TaskService(
            runtime,
            engine=engine,
            dispatcher=Dispatcher(store=store, engine=engine, wakeup=runtime.wakeup),
            housekeeper=Housekeeper(runtime, wakeup=runtime.wakeup.set),
        )

        task_service.start()
        yield task_service
        task_service.close()
    store.close()


@pytest.mark.parametrize("name", LOOPS)
def test_a_thread_that_ends_is_not_ready_until_it_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whichever thread it is: the check names it, and it is started again."""
    loop, method = LOOPS[name]
    original, go, ends = getattr(loop, method), threading.Event(), []

    def end_once(self: object, *arguments: object) -> object:
        if not ends:
            ends.append(1)
            raise SystemExit
        return original(self, *arguments)

    def wait(failures: int) -> float:
        assert go.wait(60)
        return 0.0

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "integration"))
    monkeypatch.setattr(threads, "retry_pause", wait)
    monkeypatch.setattr(loop, method, end_once)
    with running_hub(tmp_path) as task_service:
        wait_until(lambda: _problem(task_service) is not None)
        assert _problem(task_service).startswith(f"The thread {name} ended: SystemExit.")
        go.set()
        wait_until(lambda: _problem(task_service) is None)


def _problem(task_service: TaskService) -> str | None:
    try:
        task_service.check()
    except ThreadError as error:
        return str(error)
    except EngineError:
        # The only worker is loading the algorithms.
        return None
    return None
