"""callback_sdk.targets.places"""

from __future__ import annotations

import pytest

from callback_sdk.errors import CallbackParamError, OutputError
from callback_sdk.targets import Target, TargetSettings, check_callback
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.places import Places, check_documents
from tests.signedurls import v4


def target(key: str, **param: int) -> Target:
    (callback,) = parse_callbacks(
        [f"https://bucket.s3.eu-central-1.amazonaws.com/{key}?{v4(date='20900101T000000Z')}"], param
    )
    return check_callback(callback, TargetSettings())


def test_each_file_has_an_object_of_its_own() -> None:
    """Only targets of the document may be one object."""
    places = Places([target("doc"), target("doc")])
    places.add("a", target("a"))
    for taken in ("doc", "a"):
        with pytest.raises(OutputError, match="'b' has the same place") as caught:
            places.add("b", target(taken))
        assert caught.value.name == "b"
        assert "X-Amz-Signature" not in str(caught.value)
    places.add("b", target("b"))


def test_documents_that_differ_have_objects_of_their_own() -> None:
    """Keys are compared decoded."""
    check_documents([target("doc", x=1), target("doc", x=1), target("other", x=2)])
    with pytest.raises(CallbackParamError, match="the same object"):
        check_documents([target("doc", x=1), target("%64oc", x=2)])
    with pytest.raises(OutputError):
        Places([target("pct")]).add("b", target("%70ct"))
