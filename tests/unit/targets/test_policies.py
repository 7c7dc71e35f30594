"""What a POST policy takes, held against Amazon's documentation; SeaweedFS differs where a test says so."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.errors import InvalidS3FieldsError, PolicyError
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.dialects import Dialect
from callback_sdk.targets.policies import Policy, parse_policy
from callback_sdk.text import limits
from tests.growth import assert_linear

URL = "https://b.s3.eu-central-1.amazonaws.com/"
END = "2026-01-01T13:00:00Z"


def encode(conditions: Any, expiration: Any = END) -> str:
    return base64.b64encode(json.dumps({"expiration": expiration, "conditions": conditions}).encode()).decode()


def parse(conditions: Any, expiration: Any = END) -> Policy:
    return parse_policy(SecretURL(URL), SecretFields({"policy": encode(conditions, expiration)}))


def check(
    conditions: list[Any], fields: dict[str, str], *, url: str = URL, size: int | None = 10, filename: str | None = None
) -> None:
    fields = {"key": "k", **fields, "policy": "", "x-amz-signature": ""}
    rules = [*conditions, ["starts-with", "$key", ""]]
    parse(rules).check(SecretURL(url), SecretFields(fields), size, filename)


@pytest.mark.parametrize(
    "text",
    ["2026-01-01T13:00:00Z", "2026-01-01T13:00:00.000Z", "2026-01-01T12:30:00-00:30", "2026-01-01T13:00:00.000000999Z"],
)
def test_expiration_is_read_as_stores_read_it(text: str) -> None:
    """RFC 3339, with a fraction of any length and with a zone."""
    policy = parse([], text)
    assert policy.expires_at == datetime(2026, 1, 1, 13, tzinfo=timezone.utc)
    assert policy.expires_at.tzinfo is timezone.utc


@pytest.mark.parametrize(
    "text", ["2026-01-01T13:00:00", "20260101T130000Z", "2026-01-01", "soon", "2026-13-01T00:00:00Z", 1, None]
)
def test_expiration_that_stores_cannot_read_is_refused(text: Any) -> None:
    """A time without a zone is refused by stores too."""
    with pytest.raises(InvalidS3FieldsError, match="can't be read"):
        parse([], text)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_policy_that_is_not_plain_utf8_is_rejected(encoding: str) -> None:
    """Stores reject a byte order mark and other encodings, which json.loads() takes."""
    text = base64.b64encode(base64.b64decode(encode([])).decode().encode(encoding)).decode()
    with pytest.raises(InvalidS3FieldsError, match="can't be read"):
        parse_policy(SecretURL(URL), SecretFields({"policy": text}))


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("condition", [[], {}, "", None, 1, [[]], ["in"], ["in", "$key"]])
def test_condition_of_another_shape_is_a_typed_error(condition: Any, lists: bool) -> None:
    """In the dialect with lists of values too; an empty object is a condition that always holds."""
    try:
        parse_policy(SecretURL(URL), SecretFields({"policy": encode([condition])}), Dialect(lists=lists))
    except InvalidS3FieldsError:
        return
    assert condition == {} or (lists and condition and condition[0] == "in")


def test_policy_in_lines_is_read() -> None:
    """Some encoders break base64 into lines; stores read over that."""
    text = encode([{"acl": "private"}])
    policy = parse_policy(SecretURL(URL), SecretFields({"policy": f"{text[:20]}\r\n{text[20:]}\n"}))
    assert policy.expires_at.year == 2026


@pytest.mark.parametrize(
    ("condition", "word"),
    [
        ({"success_action_status": 201}, "'success_action_status' is not a string"),
        (["eq", "$acl", None], "'acl' is not a string"),
        (["starts-with", "key", "runs/"], "doesn't begin with"),
        (["ends-with", "$key", ".json"], "neither eq nor starts-with"),
        (["starts-with", "$success_action_status", "20"], "accept eq only"),
        (["content-length-range", 0, "many"], "whole numbers"),
        # As volcengine/ve-tos-python-sdk#45 signed it.
        ({"content-length-range": [0, 1048576]}, '"content-length-range", 0, 1000'),
        (["content-length-range", 0, True], "whole numbers"),
        (["eq", "$acl"], "eq without a name and a value"),
        ("acl", "neither an object nor a list"),
        (None, "neither an object nor a list"),
    ],
)
def test_condition_that_stores_cannot_read_is_refused(condition: Any, word: str) -> None:
    """A policy may be signed and useless all the same; the error says which condition it is."""
    with pytest.raises(InvalidS3FieldsError, match=word):
        parse([condition])


@pytest.mark.parametrize(
    ("conditions", "fields"),
    [
        ([["StArTs-WiTh", "$AcL", "pri"]], {"acl": "private"}),
        ([{"bUcKeT": "b"}], {}),
        ([["eq", "$x-amz-meta-a", ""]], {"x-amz-meta-a": ""}),
        ([["starts-with", "$x-amz-meta-a", ""]], {"X-Amz-Meta-A": "anything"}),
        ([["starts-with", "$Content-Type", "image/"]], {"content-type": "image/png,image/gif, image/x"}),
        ([{"acl": "private", "x-amz-meta-a": "1"}], {"acl": "private", "x-amz-meta-a": "1"}),
        ([], {"x-ignore-me": "1"}),
    ],
)
def test_form_that_fits_passes(conditions: list[Any], fields: dict[str, str]) -> None:
    """Names in any case, empty prefixes, lists of content types."""
    check(conditions, fields)


@pytest.mark.parametrize(
    ("conditions", "fields", "word"),
    [
        ([["starts-with", "$Content-Type", ""]], {}, "doesn't have it"),
        ([{"acl": ""}], {}, "doesn't have it"),
        ([{"acl": "private"}], {"acl": "Private"}, "'acl'"),
        ([["starts-with", "$acl", "pri"], {"acl": "private2"}], {"acl": "private"}, "'acl'"),
        ([["starts-with", "$Content-Type", "image/"]], {"Content-Type": "image/png,text/html"}, "'content-type'"),
        ([["starts-with", "$Content-Type", "image/"]], {"Content-Type": " image/png"}, "'content-type'"),
        ([], {"acl": "private"}, "doesn't allow"),
        ([], {"x-amz-security-token": "t"}, "doesn't allow"),
    ],
)
def test_form_that_does_not_fit_is_refused(conditions: list[Any], fields: dict[str, str], word: str) -> None:
    """SeaweedFS takes a missing field where any value will do, a mixed list, and unnamed fields but x-amz- ones."""
    with pytest.raises(PolicyError, match=word):
        check(conditions, fields)


@pytest.mark.parametrize(
    ("fields", "word"), [({"acl": "a", "ACL": "b"}, "twice"), ({"KEY": "other"}, "twice"), ({"File": "x"}, "own part")]
)
def test_form_that_no_policy_could_take_is_refused(fields: dict[str, str], word: str) -> None:
    """Stores choose one of two fields, and take the first file for the object."""
    with pytest.raises(InvalidS3FieldsError, match=word):
        check([{name: value} for name, value in fields.items()], fields)


def test_form_without_a_key_is_refused() -> None:
    """A condition for the key doesn't name the object."""
    with pytest.raises(InvalidS3FieldsError, match="no field 'key'"):
        parse([{"key": "k"}]).check(SecretURL(URL), SecretFields({"policy": ""}), None)


@pytest.mark.parametrize(("size", "fits"), [(None, True), (4, False), (5, True), (8, True), (9, False)])
def test_all_length_ranges_hold(size: int | None, fits: bool) -> None:
    """Both ends count, and of several ranges each; SeaweedFS looks at the last only."""
    conditions = [["content-length-range", 0, 8], ["content-length-range", "5", "20"]]
    if fits:
        check(conditions, {}, size=size)
    else:
        with pytest.raises(PolicyError, match="5 to 8"):
            check(conditions, {}, size=size)


@pytest.mark.parametrize(
    ("key", "condition", "unknown", "known"),
    [
        ("runs/${filename}", ["starts-with", "$key", "runs/"], True, True),
        ("runs/${filename}", ["starts-with", "$key", "runs/msg_"], True, True),
        ("runs/${filename}", ["starts-with", "$key", "runs/other"], True, False),
        ("runs/${filename}", {"key": "runs/msg_1.json"}, True, True),
        ("runs/${filename}", {"key": "runs/"}, False, False),
        ("runs/${filename}", {"key": "runs/${filename}"}, False, False),
        ("runs/${filename}", ["starts-with", "$key", "runs/${filename}"], False, False),
        ("runs/${filename}", ["starts-with", "$key", "other/"], False, False),
    ],
)
def test_file_name_is_put_in_before_the_policy_is_held(key: str, condition: Any, unknown: bool, known: bool) -> None:
    """At submit the name is not known, so what may hold passes; at sending it is."""
    for filename, fits in ((None, unknown), ("msg_1.json", known)):
        if fits:
            check([condition], {"key": key}, filename=filename)
        else:
            with pytest.raises(PolicyError, match="'key'"):
                check([condition], {"key": key}, filename=filename)


@pytest.mark.parametrize("filename", [None, "msg_1.json"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("key", "runs/${filename}.json"), ("success_action_redirect", "https://example.org/${filename}")],
)
def test_a_placeholder_in_an_exact_condition_is_explained(name: str, value: str, filename: str | None) -> None:
    """The fields are as Amazon's SDK for JavaScript returned them; the condition is wrong."""
    fields = {"key": "k", name: value}
    with pytest.raises(PolicyError, match="puts the file's name in its place") as caught:
        check([{field: given} for field, given in fields.items()], fields, filename=filename)
    assert f"['starts-with', '${name}', prefix], where prefix is the text before ${{filename}}" in caught.value.hint
    assert "unchanged" not in caught.value.hint


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://b.s3.eu-central-1.amazonaws.com/", True),
        ("https://other.s3.eu-central-1.amazonaws.com/", False),
        ("https://other.s3.amazonaws.com/", False),
        ("https://s3.eu-central-1.amazonaws.com/b", True),
        ("https://s3.eu-central-1.amazonaws.com/other", False),
        ("http://127.0.0.1:8333/b/", True),
        ("http://127.0.0.1:8333/other", False),
        ("http://127.0.0.1:7480/tenant:b", True),
        ("https://aistore.example.org/s3/b", True),
        ("https://other.s3.cn-north-1.amazonaws.com.cn/", False),
        ("https://other.s3.dualstack.eusc-de-east-1.amazonaws.eu/", False),
        ("https://b.s3-accelerate.dualstack.amazonaws.com/", True),
        ("https://bucket.vpce-1a2b-3c4d.s3.eu-central-1.vpce.amazonaws.com/b", True),
        ("https://bucket.vpce-1a2b-3c4d.s3.eu-central-1.vpce.amazonaws.com/other", False),
        ("https://b.bucket.vpce-1a2b-3c4d.s3.eu-central-1.vpce.amazonaws.com/", True),
        # An access point stands for a bucket with another name.
        ("https://point-111122223333.s3-accesspoint.eu-central-1.amazonaws.com/", True),
        ("https://b.fra1.digitaloceanspaces.com/", True),
        ("https://other.fra1.digitaloceanspaces.com/", False),
        ("https://fra1.digitaloceanspaces.com/other", False),
        ("https://other.storage.googleapis.com/", False),
        ("https://s3.eu-central-1.wasabisys.com/", True),
        ("https://uploads.example.org/", True),
        ("https://storage.googleapis.com/", True),
    ],
)
def test_form_is_held_to_its_bucket_where_the_url_names_one(url: str, fits: bool) -> None:
    """Two callbacks whose fields were mixed up; a host of one's own may stand for any bucket."""
    if fits:
        check([{"bucket": "b"}], {}, url=url)
    else:
        with pytest.raises(PolicyError, match="another bucket"):
            check([{"bucket": "b"}], {}, url=url)


@pytest.mark.parametrize(
    ("key", "wanted", "fits"),
    [
        ("${filename}/${filename}", "a.json/a.json", True),
        ("${filename}/${filename}", "a.json/b.json", False),
        ("${filename}${filename}", "abab", True),
        ("${filename}${filename}", "aba", False),
        ("x${filename}", "x", False),
    ],
)
def test_name_is_the_same_wherever_it_stands(key: str, wanted: str, fits: bool) -> None:
    """A value with the name several times holds for one name only, if for any."""
    if fits:
        check([{"key": wanted}], {"key": key})
    else:
        with pytest.raises(PolicyError, match="'key'"):
            check([{"key": wanted}], {"key": key})


def test_policy_of_too_many_conditions_is_refused() -> None:
    """Before any of them is held against the form."""
    parse([["starts-with", "$key", ""]] * limits.MAX_CONDITIONS)
    with pytest.raises(InvalidS3FieldsError, match="more than 200 conditions"):
        parse([["starts-with", "$key", ""]] * (limits.MAX_CONDITIONS + 1))


FORMS: dict[str, Callable[[int], tuple[list[Any], dict[str, str], str]]] = {
    "buckets in a path": (lambda size: ([{"bucket": "b"}] * size, {}, f"http://h/{'a/' * (size * 16)}b")),
    "names of files": (lambda size: ([{"key": "a" * 100}] * size, {"key": "${filename}a" * size + "b"}, URL)),
    "prefixes of names": (
        lambda size: ([["starts-with", "$key", "${file"]] * size, {"key": "${file" * size * 10 + "${filename}"}, URL)
    ),
    "content types": (
        lambda size: ([["starts-with", "$content-type", "a"]] * size, {"content-type": "a, " * size * 10 + "a"}, URL)
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_time_grows_with_the_form_and_not_faster(name: str) -> None:
    """Each condition costs its own length, and not the length of what it is held against."""

    def case(size: int) -> tuple[Policy, SecretURL, SecretFields]:
        conditions, fields, url = FORMS[name](size)
        fields = {"key": "k", **fields, "policy": "", "x-amz-signature": ""}
        return parse([*conditions, ["starts-with", "$key", ""]]), SecretURL(url), SecretFields(fields)

    def work(given: tuple[Policy, SecretURL, SecretFields]) -> None:
        policy, url, fields = given
        with suppress(PolicyError):
            policy.check(url, fields, 10)

    assert_linear(work, case(12), case(12 * 16), ratio=16)
