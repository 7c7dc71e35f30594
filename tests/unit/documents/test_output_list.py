"""The list of output files in the results."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk import JobResult
from callback_sdk.documents.body import Body
from callback_sdk.documents.document import document, encode_results
from callback_sdk.documents.output_list import add_list, open_results
from callback_sdk.errors import EncodingError, OutputError
from tests.growth import assert_linear

ENTRIES = {"model.bin": {"url": None, "size": 3, "sha256": "00", "media_type": "a/b"}}


def with_list(results: Any) -> bytes:
    with ExitStack() as stack:
        body, _ = encode_results(results, stack)
        return add_list(open_results(body), ENTRIES).read()


@pytest.mark.parametrize(
    ("results", "begin"),
    [
        (None, b'{"outputs":'),
        ({}, b'{"outputs":'),
        ({"a": [1]}, b'{"a":[1],"outputs":'),
        ({"b": {}}, b'{"b":{},"outputs":'),
    ],
)
def test_the_list_is_the_last_member(results: Any, begin: bytes) -> None:
    """Results keep their members, and get the list after them; None is an object with the list alone."""
    found = with_list(results)
    assert found.startswith(begin)
    assert json.loads(found) == {**(results or {}), "outputs": ENTRIES}


@pytest.mark.parametrize("text", ["null", " null \n", "{}", "{ \n }", '\n {"a": 1}\n\n', '{"a":"}"}  '])
def test_files_of_results(text: str, tmp_path: Path) -> None:
    """A file and a file object get the list too, whatever whitespace is in them."""
    path = tmp_path / "results.json"
    path.write_text(text)
    expected = {**(json.loads(text) or {}), "outputs": ENTRIES}
    assert json.loads(with_list(path)) == expected
    assert json.loads(with_list(io.BytesIO(text.encode()))) == expected


@pytest.mark.parametrize("results", [[1], "text", 1.5, True])
def test_results_without_members(results: Any) -> None:
    """Results that are not an object can't list files."""
    with pytest.raises(OutputError, match="not a JSON object") as caught:
        with_list(results)
    assert "Return a dict" in caught.value.hint


@pytest.mark.parametrize("text", ['{"outputs": 1}', '{"a": 1, "\\u006futputs": []}', '{"\\u006F\\u0075\\u0074puts":0}'])
def test_results_with_a_member_of_this_name(text: str) -> None:
    """Results with their own member are an error: a receiver would find two."""
    for padding in (b"", b" " * 262_139):
        with pytest.raises(OutputError, match="member 'outputs'"):
            with_list(io.BytesIO(text[:1].encode() + padding + text[1:].encode()))


@pytest.mark.parametrize("value", [{"a": {"outputs": 1}}, {"a": "outputs"}, {"Outputs": 1}, {"a": ["outputs"]}])
def test_the_name_elsewhere_is_allowed(value: Any) -> None:
    """The name may occur in nested results and in texts."""
    assert json.loads(with_list(value)) == {**value, "outputs": ENTRIES}


@given(st.binary(max_size=0) | st.just(b" "), st.dictionaries(st.text(max_size=9), st.text(max_size=5) | st.none()))
def test_parts_may_end_anywhere(padding: bytes, value: Any) -> None:
    """The result doesn't depend on where the parts of a body end."""
    if "outputs" in value:
        return
    data = padding + json.dumps(value).encode() + padding
    whole = add_list(open_results(Body(data)), ENTRIES).read()
    assert (
        add_list(open_results(Body(*(data[place : place + 1] for place in range(len(data))))), ENTRIES).read() == whole
    )
    assert json.loads(whole) == {**value, "outputs": ENTRIES}


def test_changed_files_are_noticed(tmp_path: Path) -> None:
    """A file that is changed after the survey is an error."""
    path = tmp_path / "results.json"
    path.write_text('{"a": 1}')
    with ExitStack() as stack:
        body = add_list(open_results(encode_results(path, stack)[0]), ENTRIES)
        path.write_text('{"a": 22}')
        with pytest.raises(EncodingError, match="was changed"):
            body.read()


def test_time_grows_linearly() -> None:
    """The survey takes time linear in the size of the results, also when the name is in them."""
    small, large = (Body(json.dumps({"a": ["outputs"] * size}).encode()) for size in (2_000, 32_000))
    assert_linear(open_results, small, large, ratio=16)


def test_documents_without_outputs_are_unchanged() -> None:
    """The bytes of a document without output files are those of version 0.1."""
    expected = (
        b'{"job_id":"42","status":"Finished","callback_param":{"run":1},"success":true,"results":{"life_years":7.5}}'
    )
    for outputs in (None, {}):
        result = JobResult(job_id="42", success=True, results={"life_years": 7.5}, outputs=outputs)
        with ExitStack() as stack:
            assert document(result, {"run": 1}, encode_results(result.results, stack)[0]).read() == expected


@pytest.mark.parametrize("outputs", [["model.bin"], "model.bin", Path("model.bin")])
def test_outputs_are_a_mapping(outputs: Any) -> None:
    """Anything but a mapping from names is an error at once."""
    with pytest.raises(OutputError, match="outputs is of type"):
        JobResult(job_id="42", success=True, outputs=outputs)


def test_failed_jobs_have_no_outputs() -> None:
    """The document of a failed job has no results to list files in, so the files would be lost."""
    with pytest.raises(OutputError, match="failed job"):
        JobResult(job_id="42", success=False, error="no", outputs={"log.txt": b""})
