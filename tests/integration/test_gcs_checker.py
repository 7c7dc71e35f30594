"""The fake Google Cloud Storage rejects every change, so that its acceptance is meaningful."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests

from tests.checkers import gcs

HOUR = timedelta(hours=1)
HEADERS = {"content-type": "application/json", "x-goog-meta-run": "1"}


@pytest.fixture(scope="module")
def store() -> Iterator[gcs.GCS]:
    """Run the checker."""
    with gcs.running() as server:
        yield server


def put(url: str, headers: dict[str, str] | None = None) -> int:
    return requests.put(url, b"{}", headers=HEADERS if headers is None else headers, timeout=30).status_code


@pytest.mark.parametrize("version", ["v4", "v2"])
def test_checker_refuses_a_url_that_was_changed_anywhere(store: gcs.GCS, version: str) -> None:
    """Path, each parameter's value, each header's value, a header more and a header less."""
    signed = HEADERS if version == "v4" else {"x-goog-meta-run": "1"}
    url = store.sign("results", "a b.json", HOUR, version=version, headers=dict(signed))
    assert put(url, signed) == 200
    path, _, query = url.partition("?")
    pairs = query.split("&")
    wrong = [f"{path}x?{query}", path]
    for number in range(len(pairs)):
        wrong.append(f"{path}?{'&'.join([*pairs[:number], pairs[number] + '0', *pairs[number + 1 :]])}")
        wrong.append(f"{path}?{'&'.join(pairs[:number] + pairs[number + 1 :])}")
    assert {put(other, signed) // 100 for other in wrong} == {4}
    for name in signed:
        assert put(url, {**signed, name: "other"}) == 403
        assert put(url, {key: value for key, value in signed.items() if key != name}) == 403
    assert put(url, {**signed, "x-goog-acl": "public-read"}) == 403


@pytest.mark.parametrize("version", ["v4", "v2"])
def test_checker_refuses_a_form_that_was_changed_anywhere(store: gcs.GCS, version: str) -> None:
    """Each field changed, each left out, and one more."""
    sign = store.sign_form if version == "v4" else store.sign_form_v2
    fields = sign("results", "k.json", HOUR, 1000)
    url = f"{store.endpoint}/results/"

    def post(form: dict[str, str]) -> int:
        return requests.post(url, data=form, files={"file": b"{}"}, timeout=30).status_code

    assert post(fields) == 204
    # The URL says which bucket it is.
    names = [name for name in fields if name != "bucket"]
    assert {post({**fields, name: fields[name] + "0"}) // 100 for name in names} == {4}
    assert {post({key: fields[key] for key in fields if key != name}) // 100 for name in names} == {4}
    assert post({**fields, "acl": "public-read"}) == 403
    assert requests.post(f"{store.endpoint}/others/", data=fields, files={"file": b"{}"}, timeout=30).status_code == 403
