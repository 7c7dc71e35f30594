"""Ids of deliveries, which stay the same after a crash."""

from __future__ import annotations

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.targets import azure, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.writer.delivery import stable_delivery_id
from tests.signedurls import sas

AZURE = f"https://account.blob.core.windows.net/c/k?{sas()}"
HOOK = "https://example.org/done"


def delivery_id(url: str, document: bytes) -> str:
    (callback,) = parse_callbacks(url)
    return stable_delivery_id(plan(callback), Body(document))


@pytest.mark.parametrize("url", [AZURE, HOOK])
def test_id_depends_on_target_and_document(url: str) -> None:
    """Any other byte makes another delivery, and the same bytes the same one."""
    assert delivery_id(url, b"a" * 100) == delivery_id(url, b"a" * 100)
    assert len({delivery_id(url, b"a" * 100), delivery_id(url, b"a" * 99 + b"b"), delivery_id(f"{url}&b=1", b"a")}) == 3


def test_id_of_a_document_in_parts_depends_on_its_beginning_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document begins with the job's id. To read it whole would take as long as a part of the upload."""
    monkeypatch.setattr(azure, "SINGLE_BLOB", 10)
    ids = [delivery_id(AZURE, document) for document in (b"1" + b"a" * 20, b"2" + b"a" * 20, b"1" + b"a" * 21)]
    assert len(set(ids)) == 3
    assert delivery_id(AZURE, b"1" + b"a" * 20) == ids[0]
