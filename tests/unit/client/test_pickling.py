"""Tasks, algorithms and batch items travel between processes, and credentials don't."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import pytest

from callback_sdk import client as public
from callback_sdk import compat
from callback_sdk.client import Algorithm, BatchItem, Client, Task
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.errors import ConfigurationError
from callback_sdk.text.html import HTMLList
from tests.unit.client.jobs import ACCEPTED, DATA, HOOK, PREDICT, SIGNED, TOKEN

STATE = {
    **ACCEPTED,
    "status": "Finished",
    "success": True,
    "predictions": [1, 2],
    "created_at": "2026-01-01T12:00:00Z",
    "deliveries": [{"url": "https://h/x", "status": "delivered", "attempt_count": 1}],
}


def submit(url: str) -> Task:
    with Client(url, token=TOKEN) as client:
        return client.run_algorithm("an-algorithm", DATA)


def test_a_task_returns_from_another_process(accepting: Any, clean_environment: Any) -> None:
    """A task submitted by a process pool is returned with its id."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        task = pool.submit(submit, accepting.url).result()
    assert (task.job_id, task.status) == ("42", "Pending")


def test_a_pickled_task_has_its_state_and_no_client(client: Client, service: Any) -> None:
    """A call that needs the client raises an error with a hint."""
    service.on("GET", "/algorithms/tasks/42", service.Say(data=STATE))
    task = client.get_task("42")
    data = pickle.dumps(HTMLList([task]))
    assert TOKEN.encode() not in data
    (loaded,) = pickle.loads(data)
    assert loaded.to_dict() == task.to_dict()
    assert loaded.predictions == [1, 2]
    assert repr(loaded) == repr(task)
    assert loaded.result().predictions == [1, 2]
    for call in (loaded.refresh, loaded.wait, loaded.cancel, loaded.get_logs, loaded.redeliver):
        with pytest.raises(ConfigurationError, match=r'The task 42 was pickled.*client\.get_task\("42"\)'):
            call()
    assert pickle.loads(pickle.dumps(loaded)).job_id == "42"


def test_a_copied_task_keeps_its_client(client: Client, service: Any) -> None:
    """A copy can be refreshed; a deep copy has separate results."""
    service.on("GET", "/algorithms/tasks/42", service.Say(data=STATE))
    task = client.get_task("42")
    shallow, deep = copy.copy(task), copy.deepcopy([task])[0]
    assert shallow is not task
    assert deep.predictions == task.predictions
    assert deep.predictions is not task.predictions
    assert shallow.refresh().job_id == deep.refresh().job_id == "42"


def test_an_algorithm_is_pickled_without_its_client(client: Client, service: Any) -> None:
    """Its facts are there, and a call says how to get it again; a copy keeps its client."""
    data = {"id": "an-algorithm", "name": "An algorithm", "versions": ["1.0.0"], "evaluations": ["mean"]}
    service.on("GET", "/algorithms/an-algorithm", service.Say(data=data))
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    algorithm = client.get_algorithm("an-algorithm")
    loaded: Algorithm = pickle.loads(pickle.dumps(algorithm))
    assert loaded == algorithm
    with pytest.raises(ConfigurationError, match=r'client\.get_algorithm\("an-algorithm"\)'):
        loaded.run(DATA)
    assert copy.deepcopy(copy.copy(algorithm)).run(DATA).job_id == "42"


def test_values_of_compat_are_pickled(service: Any, clean_environment: Any) -> None:
    """A task keeps its type, an algorithm becomes a plain one, and neither contains the client."""
    data = {"id": "an-algorithm", "versions": ["1.0.0"]}
    service.on("GET", "/algorithms/an-algorithm", service.Say(data=data))
    service.on("GET", "/algorithms/tasks/42", service.Say(data=STATE))
    with compat.get_instance(token=TOKEN, url=service.url) as client:
        task, algorithm = client.get_task("42"), client.get_algorithm("an-algorithm")
        assert type(pickle.loads(pickle.dumps(task))) is type(copy.deepcopy(task)) is type(task)
        loaded = pickle.loads(pickle.dumps(algorithm))
        assert (loaded.id, loaded.versions[0].version) == ("an-algorithm", "1.0.0")


def test_a_client_is_shared_and_not_pickled(client: Client) -> None:
    """A copy is the client itself, and another process needs a new client."""
    assert copy.copy(client) is client
    assert copy.deepcopy({"client": client})["client"] is client
    for target in (client, client.get_task, {"client": client}):
        with pytest.raises(TypeError, match=r"a client contains a credential.*Create a client in the other process"):
            pickle.dumps(target)


@pytest.mark.parametrize(
    "item",
    [
        BatchItem(DATA),
        BatchItem(DATA, parameters={"x": 1}, version="1.0.0", evaluate={"mean": {}}, priority=3),
        BatchItem(pd.DataFrame(DATA), callbacks=[]),
        BatchItem({"a": np.arange(3)}),
        BatchItem("features.parquet"),
    ],
)
def test_a_batch_item_without_callbacks_is_pickled(item: BatchItem) -> None:
    """Every member arrives, also the empty list that means no callbacks."""
    loaded = pickle.loads(pickle.dumps(item))
    assert str(loaded.features) == str(item.features)
    for name in ("parameters", "version", "evaluate", "priority", "callbacks"):
        assert getattr(loaded, name) == getattr(item, name)


@pytest.mark.parametrize(
    "callbacks", [[SIGNED], [HOOK], SIGNED, [(HOOK, {"a": 1})]], ids=["signed", "webhook", "string", "pair"]
)
def test_a_batch_item_with_callbacks_says_how_to_send_it(callbacks: Any) -> None:
    """Callbacks are credentials: they stay, and the error says to add them in the other process."""
    item = BatchItem(DATA, callbacks=callbacks)
    with pytest.raises(TypeError, match=r"its callbacks are credentials.*attrs\.evolve"):
        pickle.dumps(item)
    assert copy.deepcopy(item).callbacks.reveal() == callbacks
    assert copy.copy(item) == item
    assert copy.deepcopy(item).features is not item.features


def test_a_batch_item_with_targets_of_output_files_says_how_to_send_it() -> None:
    """They are credentials, too."""
    item = BatchItem(DATA, outputs={"model.bin": SIGNED})
    assert SIGNED not in repr(item)
    with pytest.raises(TypeError, match=r"its outputs are credentials.*attrs\.evolve\(item, outputs=") as caught:
        pickle.dumps(item)
    assert SIGNED not in str(caught.value)
    assert copy.deepcopy(item).outputs.reveal() == {"model.bin": SIGNED}


def test_values_of_the_client_are_pickled(client: Client, service: Any) -> None:
    """Pickling and deep copying preserve every other public value of the client."""
    state = TaskSnapshot.from_dict(STATE)
    values = [state, *state.deliveries, state.progress, state.result, public.DeliveryAttempt(number=1)]
    for value in values:
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
