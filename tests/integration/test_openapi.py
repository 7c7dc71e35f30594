"""The REST API against its own OpenAPI document: requests that nobody would think of, drawn by schemathesis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from callback_sdk import Client
from callback_sdk.testing import LocalService

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
    ignored_auth,
]
EXAMPLES = 20
turns = itertools.count()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """Run the service, where schemathesis's requests may find what they are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(__file__).rpartition("/")[0])
        with LocalService("engine_jobs:registry") as service:
            yield service


@pytest.fixture(scope="module")
def known(service: LocalService) -> dict[str, str]:
    """Give what a path may name, so that not every request ends at a 404."""
    with Client(service.url, token=service.token) as client:
        task = client.run_algorithm("sum", {"a": [1]}, callback_url="http://127.0.0.1:9/nobody")
        (delivery,) = client.get_deliveries(task.job_id)
    return {
        "algorithm_id": "sum",
        "version": "1.0.0",
        "job_id": task.job_id,
        "delivery_id": delivery.delivery_id,
    }


def test_every_answer_is_as_documented(service: LocalService, known: dict[str, str]) -> None:
    """No 5xx, no status, header, media type or member that the document doesn't have, and JSON for every error."""
    schema = schemathesis.openapi.from_url(f"{service.url.removesuffix('/api/v2')}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 20
    for operation in operations:
        _try(operation, service, known)


def _try(operation: Any, service: LocalService, known: dict[str, str]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def ask(case: Any) -> None:
        if next(turns) % 2:
            case.path_parameters.update({name: known[name] for name in case.path_parameters})
        answer = case.call(headers={"Authorization": f"Bearer {service.token}"}, timeout=30)
        case.validate_response(answer, checks=CHECKS)
        assert answer.headers["x-request-id"]
        if answer.status_code >= 400:
            body = answer.json()
            assert body["status"] is False
            assert body.get("error") or body.get("errors")
            assert "Traceback" not in answer.text

    ask()
