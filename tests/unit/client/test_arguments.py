"""Wrong arguments are named, with a hint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from callback_sdk.client import Client
from callback_sdk.errors import CallbackSDKError, FeaturesError, InvalidRequestError, ParametersError
from tests.unit.client.jobs import ACCEPTED, DATA, PREDICT, SIGNATURE, SIGNED


class DataFrame:
    """A table of a library that isn't known here."""


class Lazy:
    """A table that is computed elsewhere."""

    def compute(self) -> None:
        """Return a table in memory."""


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("s3://bucket/key.parquet", r"s3://bucket/key\.parquet is a URL.*Download it first"),
        ("gs://bucket/key.parquet", r"gs://bucket/key\.parquet is a URL"),
        ("file:///data.parquet", r"is a URL.*without file://"),
        (SIGNED, r"https://bucket\.s3\.eu-central-1\.amazonaws\.com/k\.json is a URL"),
        ("https://anna:a-password@h/data.parquet", r"https://h/data\.parquet is a URL"),
        ("https://[bad/data.parquet", r"https://… is a URL"),
        ("~/data.parquet", r"~/data\.parquet doesn't exist: shells expand ~.*os\.path\.expanduser"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), r"for name in array\.dtype\.names"),
        (np.zeros((2, 2)), r"numpy\.ndarray are not a table.*array\[:, 0\]"),
        (DataFrame(), r"test_arguments\.DataFrame are not a table\. Give a dict"),
        (Lazy(), r"test_arguments\.Lazy are not a table\. .*features\.compute\(\)"),
    ],
    ids=["s3", "gs", "file", "signed", "password", "malformed", "home", "structured", "array", "unknown", "lazy"],
)
def test_unsupported_features_are_named(client: Client, service: Any, features: Any, said: str) -> None:
    """A URL, a path with ~, and tables of other libraries, each with a hint."""
    with pytest.raises(FeaturesError, match=said) as caught:
        client.run_algorithm("an-algorithm", features)
    for secret in (SIGNATURE, "a-password"):
        assert secret not in str(caught.value)
    assert service.requests == []


def test_parameters_at_a_url_are_named(client: Client, service: Any) -> None:
    """So are a URL in the place of a file of parameters, and a type that isn't one."""
    with pytest.raises(ParametersError, match=r"s3://bucket/p\.json is a URL, but parameters are read from files"):
        client.run_algorithm("an-algorithm", DATA, parameters="s3://bucket/p.json")
    with pytest.raises(CallbackSDKError, match=r"numpy\.int64"):
        client.run_algorithm("an-algorithm", DATA, parameters=np.int64(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "sent"), [(np.True_, b"true"), (np.False_, b"false"), (True, b"true")])
def test_a_bool_of_numpy_is_one(client: Client, accepting: Any, value: Any, sent: bytes) -> None:
    """A comparison of an array's values chooses as a comparison of Python's does."""
    client.run_algorithm("an-algorithm", DATA, evaluate=value, monitor=value)
    assert accepting.requests[0].form["evaluate"] == accepting.requests[0].form["monitor"] == sent


def test_numpy_integers_are_accepted(client: Client, service: Any) -> None:
    """A priority and a limit may be NumPy integers; fractions and booleans are rejected."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    service.on("GET", "/algorithms/tasks?limit=2", service.Say(data={"tasks": [], "next_cursor": None}))
    client.run_algorithm("an-algorithm", DATA, priority=np.int64(7))
    assert service.requests[0].form["priority"] == b"7"
    assert list(client.get_tasks(limit=np.int32(2))) == []
    for wrong in (np.float64(2), np.True_, True, "2", 2.0):
        with pytest.raises(InvalidRequestError, match="priority is"):
            client.run_algorithm("an-algorithm", DATA, priority=wrong)
        with pytest.raises(InvalidRequestError, match="limit is"):
            client.get_tasks(limit=wrong)


def test_evaluations_that_are_not_a_dict_are_an_error(client: Client, service: Any) -> None:
    """The name of an evaluation alone isn't enough; the hint has the required form."""
    with pytest.raises(InvalidRequestError, match=r"evaluate is of type str\. .*a dict of evaluations"):
        client.run_algorithm("an-algorithm", DATA, evaluate="name")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"monitor is of type numpy\.ndarray\. Give True or False\.$"):
        client.run_algorithm("an-algorithm", DATA, monitor=np.array([True]))  # type: ignore[arg-type]
