"""One signature for a prefix serves all jobs of an array."""

from __future__ import annotations

from typing import Any

import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.outputs.names import checked_name
from callback_sdk.program.delivery import folder_of, with_job_id
from callback_sdk.redaction import Secret


def _prefix(document: str) -> dict[str, Any]:
    return {"s3_fields": {"key": "{job_id}/${filename}"}, "s3_prefix": {"document": document}}


@pytest.mark.parametrize("shape", ["target", "pair"])
def test_the_job_id_is_put_into_the_name_of_the_document_alone(shape: str) -> None:
    target: Any = ["https://b.example/", _prefix("{job_id}/result.json")]
    if shape == "target":
        target = {"url": target[0], "param": target[1]}
    (found,) = with_job_id([Secret(target)], "90_1")
    param = found.reveal()["param"] if shape == "target" else found.reveal()[1]
    assert param == {"s3_fields": {"key": "{job_id}/${filename}"}, "s3_prefix": {"document": "90_1/result.json"}}
    assert folder_of([found]) == "90_1/"


@pytest.mark.parametrize(
    ("job_id", "name"),
    [
        ("a/b", "a_b"),
        ("4f1c0d5e-7a1b-4f8e-9a51-2f5f5f5f5f5f:7", "4f1c0d5e-7a1b-4f8e-9a51-2f5f5f5f5f5f_7"),
        ("1234[7].server", "1234[7].server"),
        ("90_7.0.1", "90_7.0.1"),
    ],
)
def test_ids_of_all_schedulers_are_names_of_documents(job_id: str, name: str) -> None:
    (found,) = with_job_id([Secret({"url": "u", "param": _prefix("{job_id}.json")})], job_id)
    assert found.reveal()["param"]["s3_prefix"] == {"document": f"{name}.json"}
    assert checked_name(f"{name}.json") == f"{name}.json"
    assert folder_of([found]) == ""


def test_other_targets_stay_as_they_are() -> None:
    targets = [Secret("https://example.org/{job_id}"), Secret({"url": "u", "param": {"id": "{job_id}"}})]
    assert [each.reveal() for each in with_job_id(targets, "1")] == [each.reveal() for each in targets]
    assert folder_of(targets) == ""


@pytest.mark.parametrize("job_id", ["..", "a\nb", "x" * 300, "aux", "1.", "\udcff"])
def test_an_id_that_no_name_can_have_is_an_error_at_once(job_id: str) -> None:
    """The program would run in vain."""
    target = Secret({"url": "u", "param": _prefix("{job_id}/result.json")})
    with pytest.raises(ConfigurationError, match="can't be part of the document's name"):
        with_job_id([target], job_id)
    plain = Secret({"url": "u", "param": _prefix("result.json")})
    assert with_job_id([plain], job_id)[0].reveal() == plain.reveal()
