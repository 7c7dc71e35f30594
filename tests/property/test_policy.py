"""POST policies: forms of the signer are accepted, and the planner rejects forms that the store would reject."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st

from callback_sdk import PresignedPost, S3Signer
from callback_sdk.documents.body import Body
from callback_sdk.documents.multipart import FormFile, encode_form
from callback_sdk.errors import TargetError
from callback_sdk.redaction import SecretFields
from callback_sdk.targets import check_target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.testing import SeaweedFS
from callback_sdk.transport.http import HTTPSender, Response
from tests.checkers.places import raw
from tests.property.strategies import header_values, keys, metadata

DELIVERY_ID = "msg_1"

few = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

object_keys = keys.filter(
    # What SeaweedFS keeps as a path: shorter names, and no dots that lead elsewhere.
    lambda key: (
        all(part not in (".", "..") and len(part.encode()) <= 255 for part in key.split("/")) and "\0" not in key
    )
)

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)

fields = st.fixed_dictionaries(
    {},
    optional={
        "acl": st.sampled_from(["private", "public-read", "bucket-owner-full-control"]),
        "Cache-Control": header_values,
        "Content-Disposition": header_values,
        "content-type": header_values,
        "success_action_status": st.sampled_from(["200", "201", "204"]),
        "x-amz-storage-class": st.just("STANDARD"),
        # SeaweedFS compares other letters than ASCII with their case.
        "x-amz-meta-größe": texts,
    },
)

prefixed = st.sampled_from(["acl", "Cache-Control", "Content-Disposition", "x-amz-meta-größe", "key"])


@pytest.fixture(scope="module")
def sender() -> Iterator[HTTPSender]:
    """Keep the connection."""
    sender = HTTPSender()
    yield sender
    sender.close()


@pytest.fixture(scope="module")
def signer(seaweedfs: SeaweedFS) -> S3Signer:
    """Return a signer for one bucket."""
    return S3Signer(seaweedfs.create_bucket(), client=seaweedfs.client())


@pytest.fixture(scope="module")
def client(seaweedfs: SeaweedFS) -> Any:
    """Return botocore's client for the same store."""
    return seaweedfs.client()


def post(sender: HTTPSender, url: str, form: dict[str, str], size: int) -> Response:
    file = FormFile(
        name="file", filename=f"{DELIVERY_ID}.json", content_type="application/json", body=Body(b"1" * size)
    )
    body, content_type = encode_form(SecretFields(form), [file])
    return sender.send(raw("POST", url, {"content-type": content_type}, body))


def refused(url: str, form: dict[str, str], size: int) -> str:
    """Return the planner's error for a form; empty if it is accepted."""
    try:
        check_target(url, {"s3_fields": form}, size=size)
        (callback,) = parse_callbacks(url, {"s3_fields": form})
        plan(callback).upload(Body(b"1" * size), delivery_id=DELIVERY_ID, now=datetime.now(timezone.utc))
    except TargetError as error:
        return error.message
    return ""


@few
@given(
    key=object_keys | st.sampled_from(["runs/${filename}", "${filename}", "a b/ü+&=.json"]),
    fields=fields,
    data=metadata,
    starts=st.dictionaries(prefixed, st.integers(0, 8)),
    size=st.integers(0, 40),
    room=st.none() | st.integers(0, 3),
)
def test_forms_of_the_signer_are_accepted(
    sender: HTTPSender,
    signer: S3Signer,
    key: str,
    fields: dict[str, str],
    data: dict[str, str],
    starts: dict[str, int],
    size: int,
    room: int | None,
) -> None:
    """Any key, fields, prefixes of values and size range pass the planner, and the store accepts the form."""
    values = {**fields, "key": key.removesuffix("${filename}")}
    conditions = [
        ["starts-with", f"${name}", values[name][:length]] for name, length in starts.items() if name in values
    ]
    target: PresignedPost = signer.presign_post(
        key,
        fields=fields,
        metadata=data,
        conditions=[*conditions, ["content-length-range", max(0, size - 1), size + 1]],
        max_bytes=None if room is None else size + room,
    )
    assert not refused(target.url, target.fields, size)
    assert post(sender, target.url, target.fields, size).status == int(fields.get("success_action_status", 204))


NAMES = ["acl", "cache-control", "x-amz-meta-a", "x-amz-meta-b", "success_action_status"]
VALUES = ["", "a", "ab", "b", "a b"]

names = st.sampled_from(NAMES).flatmap(lambda name: st.sampled_from([name, name.upper(), name.title()]))
values = st.sampled_from(VALUES)
ranges = st.tuples(st.just("content-length-range"), st.integers(0, 12), st.integers(8, 20)).map(list)
broken = st.sampled_from(
    [
        ["starts-with", "acl", ""],
        ["ends-with", "$key", "k"],
        ["starts-with", "$success_action_status", ""],
        ["starts-with", "$bucket", ""],
        ["content-length-range", "one", 9],
        {"acl": 1},
        {"bucket": "another-bucket"},
    ]
)
exact = st.builds(lambda name, value: {name: value}, names, values)
operators = st.sampled_from(["eq", "starts-with", "StArTs-WiTh"])
matching = st.builds(
    lambda operator, name, value: [operator, f"${name}", value],
    operators,
    names.filter(lambda name: name.lower() != "success_action_status") | st.sampled_from(["key", "KEY"]),
    values,
)


@few
@given(
    key=st.sampled_from(["a", "ab/c", "b", "a${filename}"]),
    given_fields=st.dictionaries(names, values, max_size=3),
    conditions=st.lists(exact | matching | ranges, max_size=3),
    wrong=st.lists(broken, max_size=1) | st.just([]),
    changes=st.dictionaries(names | st.just("key"), st.none() | values, max_size=1),
    size=st.integers(0, 25),
)
@example("a", {}, [["starts-with", "$acl", ""]], [], {}, 1)
@example("a", {}, [{"x-amz-meta-a": ""}], [], {}, 1)
@example("a", {}, [], [], {"acl": "a"}, 1)
@example("a", {}, [["content-length-range", 0, 9], ["content-length-range", 0, 20]], [], {}, 15)
@example("a", {}, [], [], {"key": None}, 1)
@example("a", {}, [], [{"bucket": "another-bucket"}], {}, 1)
def test_what_the_store_refuses_is_refused_before(
    sender: HTTPSender,
    signer: S3Signer,
    client: Any,
    key: str,
    given_fields: dict[str, str],
    conditions: list[Any],
    wrong: list[Any],
    changes: dict[str, str | None],
    size: int,
) -> None:
    """Fields that were changed, dropped or added, sizes out of range, conditions that no store reads.

    The other way round we are stricter than SeaweedFS where Amazon's documentation is; `stricter` has the list.
    """
    lower = [name.lower() for name in given_fields]
    assume(len(set(lower)) == len(lower))
    # By botocore, which signs what our signer rejects.
    exact = [{name: value} for name, value in given_fields.items() if not _is_named(name, [*conditions, *wrong])]
    target = client.generate_presigned_post(
        signer.bucket, key, Fields=dict(given_fields), Conditions=[*conditions, *wrong, *exact]
    )
    url = target["url"]
    form = {**target["fields"], **changes}
    sent = {name: value for name, value in form.items() if value is not None}
    assume(len({name.lower() for name in sent}) == len(sent))
    answer, why = post(sender, url, sent, size), refused(url, sent, size)
    event(f"store: {answer.status}, we: {bool(why)}")
    if answer.status >= 400:
        assert why, answer.body
    elif why:
        assert stricter(sent, [given_fields, *conditions, *wrong], why)


def _is_named(name: str, conditions: list[Any]) -> bool:
    named = [one for condition in conditions for one in (condition if isinstance(condition, dict) else condition[1:2])]
    return name.lower() in {str(one).removeprefix("$").lower() for one in named}


def stricter(sent: dict[str, str], conditions: list[Any], why: str) -> bool:
    """Return whether Amazon's documentation rejects a form that SeaweedFS accepts."""
    given = {name.lower() for name in sent}
    exact = [pair for condition in conditions if isinstance(condition, dict) for pair in condition.items()]
    pairs = [*exact, *((c[1].removeprefix("$"), c[2]) for c in conditions if isinstance(c, list) and c[2] == "")]
    # "A value will not be added to the fields automatically": a condition wants its field, and may not be empty.
    empty = any(value == "" and name.lower() not in given for name, value in pairs) and "doesn't have it" in why
    # "Each form field that you specify in a form must appear in the list of conditions": SeaweedFS asks for
    # conditions of x-amz- fields only.
    extra = "doesn't allow" in why and "'x-amz-" not in why
    # All conditions hold; of several ranges SeaweedFS knows the last.
    several = sum(isinstance(c, list) and c[0] == "content-length-range" for c in conditions) > 1 and "bytes" in why
    return empty or extra or several
