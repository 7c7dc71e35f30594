"""callback_sdk.targets.places"""

from __future__ import annotations

import boto3
import pytest

from callback_sdk.errors import CallbackParamError, InvalidTargetError, OutputError
from callback_sdk.signer import S3Signer
from callback_sdk.targets import Target, TargetSettings, check_callback
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.places import Places, ResultTarget
from tests.signedurls import v4

HOST = "https://bucket.s3.eu-central-1.amazonaws.com"


def target(key: str, host: str = HOST, **param: int) -> Target:
    (callback,) = parse_callbacks([f"{host}/{key}?{v4(date='20900101T000000Z')}"], param)
    return check_callback(callback, TargetSettings())


CLIENT = boto3.client("s3", region_name="eu-central-1", aws_access_key_id="AK", aws_secret_access_key="SK")


def prefix(path: str, document: str = "result.json") -> Target:
    (callback,) = parse_callbacks([S3Signer("bucket", client=CLIENT).presign_prefix(path, document=document)])
    return check_callback(callback, TargetSettings())


def document(target: Target, *files: str) -> ResultTarget:
    return ResultTarget(target=target, files=frozenset(files))


def test_each_file_has_an_object_of_its_own() -> None:
    """Only targets of one content may be one object."""
    places = Places.of_documents([target("doc"), target("doc")])
    places.add("a", ResultTarget.of_file("a", target("a")))
    places.add("again", ResultTarget.of_file("a", target("a")))
    for taken in ("doc", "a"):
        with pytest.raises(OutputError, match="'b' has the same place") as caught:
            places.add("b", ResultTarget.of_file("b", target(taken)))
        assert caught.value.name == "b"
        assert "X-Amz-Signature" not in str(caught.value)
    places.add("b", ResultTarget.of_file("b", target("b")))


def test_documents_that_differ_have_objects_of_their_own() -> None:
    """Keys are compared decoded."""
    Places.of_documents([target("doc", x=1), target("doc", x=1), target("other", x=2)])
    with pytest.raises(CallbackParamError, match="the same object"):
        Places.of_documents([target("doc", x=1), target("%64oc", x=2)])


def test_a_file_below_a_prefix_is_an_object_too() -> None:
    """Of the known files, as soon as they are known."""
    places = Places.of_documents([target("runs/a")])
    places.add(1, document(prefix("runs/")))
    with pytest.raises(OutputError, match="'a' has the same place"):
        places.add(1, document(prefix("runs/"), "b", "a"))
    with pytest.raises(OutputError, match=r"'result\.json' has the same place"):
        places.add(1, document(prefix("runs/"), "result.json"))
    places.add(1, document(prefix("runs/"), "b"))
    with pytest.raises(OutputError, match="'b' has the same place"):
        places.add(2, ResultTarget.of_file("c", target("runs/b")))
    with pytest.raises(OutputError, match="'b' has the same place"):
        places.add(2, document(target("runs/b")))


def test_prefixes_may_be_below_each_other() -> None:
    """Two documents may have the same files below one prefix. Files of other names must not meet."""
    places = Places()
    places.add(1, document(prefix("runs/"), "x/a", "a"))
    places.add(2, document(prefix("runs/"), "x/a", "a"))
    with pytest.raises(OutputError, match="has the same place"):
        places.add(3, document(prefix("runs/x/", "doc"), "x/a", "a"))
    places.add(3, document(prefix("runs/y/", "doc"), "x/a", "a"))


def test_a_new_target_is_compared_with_the_others_only() -> None:
    """It may be the object that it replaces. After an error the old one counts."""
    places = Places()
    places.put("1", document(target("one", x=1)))
    places.put("2", document(target("two", x=2)))
    places.replace("1", document(target("one", x=1)))
    with pytest.raises(InvalidTargetError, match="the object of another target"):
        places.replace("1", document(target("two", x=1)))
    with pytest.raises(InvalidTargetError, match="the object of another target"):
        places.replace("2", document(target("one", x=2)))
    places.replace("1", document(target("three", x=1)))
    places.replace("2", document(target("one", x=2)))


def test_names_of_other_objects_below_a_prefix_are_reserved() -> None:
    """A file with a target of its own isn't sent there."""
    places = Places()
    places.add(0, document(prefix("runs/")))
    places.add(1, document(target("runs/doc", x=1)))
    places.add(2, ResultTarget.of_file("model", target("runs/m")))
    places.add(3, ResultTarget.of_file("own", target("runs/own")))
    assert places.reserved_names() == {"result.json", "doc", "m"}
