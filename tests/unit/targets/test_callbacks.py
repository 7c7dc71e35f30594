"""Callbacks in every form that people give them."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.errors import (
    CallbackParamError,
    InvalidS3FieldsError,
    InvalidTargetError,
    MissingS3FieldsError,
    TargetError,
)
from callback_sdk.models import PresignedPost, PresignedPut
from callback_sdk.redaction import Secret, SecretFields
from callback_sdk.targets.callbacks import parse_callbacks

HOOK = "https://example.org/done"
URL = "https://b.s3.eu-central-1.amazonaws.com/"
END = datetime(2026, 1, 1, tzinfo=timezone.utc)
PUT = PresignedPut(
    url=Secret(URL + "k?X-Amz-Signature=s"), headers=SecretFields({"x-amz-acl": "private"}), expires_at=END
)
POST = PresignedPost(url=Secret(URL), fields=SecretFields({"policy": "p", "x-amz-signature": "s"}), expires_at=END)
FIELDS = {"s3_fields": POST.fields}


def plain(callback_url: Any, callback_param: Any = None) -> list[dict[str, Any]]:
    return [callback.plain() for callback in parse_callbacks(callback_url, callback_param)]


def test_nothing_is_no_callback() -> None:
    """None and an empty list mean that nobody waits."""
    assert plain(None) == plain([]) == plain(None, {"run": 1}) == []


def test_one_parameter_goes_to_every_url() -> None:
    """A dict is for all of them."""
    assert plain([HOOK, URL], {"run": 1}) == [{"url": HOOK, "param": {"run": 1}}, {"url": URL, "param": {"run": 1}}]


def test_a_list_of_parameters_is_paired_with_the_urls() -> None:
    """The old notebook's form: the first is S3, the second has nothing."""
    assert plain([URL, HOOK], [FIELDS, {}]) == [{"url": URL, "param": FIELDS}, {"url": HOOK, "param": {}}]
    assert plain([URL, HOOK], [FIELDS, None])[1] == {"url": HOOK, "param": {}}


@pytest.mark.parametrize(("urls", "params"), [(HOOK, [{}, {}]), ([HOOK, URL], [{}]), ([HOOK], []), ([], [{}])])
def test_a_list_of_another_length_is_refused(urls: Any, params: Any) -> None:
    """Nobody guesses which parameter was meant for which URL."""
    with pytest.raises(CallbackParamError, match=f"list of {len(params)} for"):
        parse_callbacks(urls, params)


def test_targets_of_ours_bring_their_own() -> None:
    """PresignedPut, PresignedPost, pairs and dicts, mixed."""
    assert plain([PUT, POST, (HOOK, {"n": 1}), {"url": HOOK, "param": {"n": 2}}, (POST, {"n": 3}), HOOK]) == [
        {"url": PUT.url, "param": {"s3_headers": {"x-amz-acl": "private"}}},
        {"url": POST.url, "param": FIELDS},
        {"url": HOOK, "param": {"n": 1}},
        {"url": HOOK, "param": {"n": 2}},
        {"url": POST.url, "param": {"n": 3, **FIELDS}},
        {"url": HOOK, "param": {}},
    ]


def test_targets_of_ours_keep_a_parameter_given_beside_them() -> None:
    """callback_param adds to what a target brings."""
    assert plain(POST, {"run": 7}) == [{"url": POST.url, "param": {"run": 7, **FIELDS}}]


def test_credentials_are_no_part_of_the_parameter() -> None:
    """What stands in the document has neither s3_fields nor s3_headers."""
    (callback,) = parse_callbacks(URL, {"run": 1, "s3_headers": {"x-amz-acl": "private"}, **FIELDS})
    assert callback.param == {"run": 1}


@pytest.mark.parametrize("empty", [{}, None, "", [], "fields", 5])
def test_s3_fields_that_are_no_fields_are_refused(empty: Any) -> None:
    """Present but empty, or no dict."""
    with pytest.raises(MissingS3FieldsError, match="generate_presigned_post returned"):
        parse_callbacks(URL, {"s3_fields": empty})


def test_whole_answer_of_boto3_is_refused() -> None:
    """The commonest mistake has its own advice."""
    with pytest.raises(InvalidS3FieldsError, match="response"):
        parse_callbacks(URL, {"s3_fields": {"url": URL, "fields": POST.fields}})


def test_bare_fields_are_refused_before_they_leak() -> None:
    """Fields one level too high would be sent on in the document."""
    with pytest.raises(InvalidS3FieldsError, match="Give them as s3_fields"):
        parse_callbacks(URL, POST.fields)


@pytest.mark.parametrize("fields", [{"policy": b"x"}, {"policy": None}, {1: "x"}, {"policy": "\ud800"}, {"a": True}])
def test_fields_that_are_no_text_are_refused(fields: Any) -> None:
    """A form has names and texts."""
    with pytest.raises(InvalidS3FieldsError, match="neither a string nor a number"):
        parse_callbacks(URL, {"s3_fields": fields})


@pytest.mark.parametrize("url", [5, b"https://example.org", {"uri": HOOK}, [HOOK], ()])
def test_url_that_is_no_string_is_refused(url: Any) -> None:
    """The error says what a callback may be."""
    with pytest.raises(InvalidTargetError, match="is a string"):
        parse_callbacks([url])


@pytest.mark.parametrize("url", ["https://[::1", "https://example.org:port/x", "https://example.org:99999999/"])
def test_malformed_authority_is_refused_without_repeating_it(url: str) -> None:
    """The standard library's own message would quote it."""
    with pytest.raises(InvalidTargetError, match="malformed") as caught:
        parse_callbacks(url)
    assert caught.value.__context__ is None or "example" not in str(caught.value.__context__)


@pytest.mark.parametrize("param", ["text", 5, True])
def test_parameter_that_is_no_dict_is_refused(param: Any) -> None:
    """A parameter is a dict."""
    with pytest.raises(CallbackParamError, match="not a dict"):
        parse_callbacks(HOOK, param)


def test_s3_fields_may_be_a_list_of_names_and_values() -> None:
    """Shopify's API returns a form's fields so; the store gets them in this order."""
    given = [{"name": "key", "value": "k"}, {"name": "acl", "value": "private"}, {"name": "policy", "value": "p"}]
    for fields in (given, [(one["name"], one["value"]) for one in given]):
        (callback,) = parse_callbacks(URL, {"s3_fields": fields})
        assert callback.fields is not None
        assert list(callback.fields.reveal().items()) == [("key", "k"), ("acl", "private"), ("policy", "p")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], "is empty"),
        (["key"], "is a list"),
        ([{"name": "key", "value": "k"}, {"name": "key", "value": "l"}], "neither a string nor a number"),
        ([("key", ["k"])], "neither a string nor a number"),
        ([(f"x-ignore-{number}", "") for number in range(101)], "101 members; 100 are allowed"),
    ],
)
def test_list_that_has_no_fields_is_refused(fields: Any, words: str) -> None:
    """A form's field has one value."""
    with pytest.raises(TargetError, match=words):
        parse_callbacks(URL, {"s3_fields": fields})


@pytest.mark.parametrize("name", ["htpp", "Http", "s3_header", "s3-headers", "S3_Fields", "s3fields"])
def test_misspelled_member_is_an_error_before_its_credentials_are_in_the_document(name: str) -> None:
    """The value is a dict, as those of the members with credentials are."""
    with pytest.raises(CallbackParamError, match=f"has a member '{name}'") as caught:
        parse_callbacks("https://example.org/file", {name: {"headers": {"PRIVATE-TOKEN": "glpat-abcdef"}}})
    assert "glpat" not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize(
    "param",
    [
        *(
            {"httpx": "0.28"},
            {"https": {"port": 443}},
            {"run": {"http_status": 3}},
            {"policy": {"signature": "v1"}},
            {1: {}},
        ),
        *(
            {"s3_files": ["a"]},
            {"shields": [1]},
            {"s3_fields_ids": []},
            {"headers": {"Accept": "text/plain"}},
            {"http2": {}},
        ),
    ],
)
def test_other_members_are_parts_of_the_document(param: dict[Any, Any]) -> None:
    """Strings and numbers, and dicts whose names are not similar."""
    (callback,) = parse_callbacks("https://example.org/hook", param)
    assert callback.param == param


@pytest.mark.parametrize("outer", [(), ("fields",), ("target", "form")])
def test_form_fields_are_rejected_wherever_they_are(outer: tuple[str, ...]) -> None:
    """They are credentials, and would be sent in the document."""
    param: dict[str, Any] = {"key": "k", "policy": "e30=", "x-amz-signature": "a" * 64}
    for name in reversed(outer):
        param = {name: param}
    with pytest.raises(InvalidS3FieldsError, match="Give them as s3_fields"):
        parse_callbacks("https://example.org/hook", param)


@pytest.mark.parametrize(
    ("param", "is_form"),
    [
        ({"policy": "eyJleHBpcmF0aW9uIjog", "signature": "c2ln"}, True),
        ({"Policy": "77u/eyJleHBpcmF0aW9uIjog", "Signature": "c2ln"}, True),
        ({"policy": "CiAgewogICJleHBpcmF0", "signature": "c2ln"}, True),
        ({"policy": "anything", "x-amz-signature": "5f"}, True),
        ({"policy": "privacy", "signature": "Ada Lovelace"}, False),
        ({"policy": {"version": 2}, "signature": "c2ln"}, False),
        ({"policy": "", "signature": ""}, False),
        ({"policy": "datenschutzerklärung", "signature": "ja"}, False),
    ],
)
def test_policy_of_a_form_is_told_from_another_policy(param: dict[str, Any], is_form: bool) -> None:
    """A form's is the base64 of a JSON object; a document may have another one, with somebody's signature."""
    if is_form:
        with pytest.raises(InvalidS3FieldsError, match="Give them as s3_fields"):
            parse_callbacks("https://example.org/hook", {"terms": param})
    else:
        (callback,) = parse_callbacks("https://example.org/hook", {"terms": param})
        assert callback.param == {"terms": param}


@pytest.mark.parametrize("names", [("headers",), ("request", "Headers")])
def test_headers_with_credentials_are_rejected_outside_of_http(names: tuple[str, ...]) -> None:
    """Below other names too."""
    param: dict[str, Any] = {"Authorization": "Bearer abcdef"}
    for name in reversed(names):
        param = {name: param}
    with pytest.raises(CallbackParamError, match="has the header authorization"):
        parse_callbacks("https://example.org/file", param)


@pytest.mark.parametrize(
    ("param", "path"),
    [
        ({"Authorization": "Bearer abcdef"}, "callback_param"),
        ({"headers": [["Authorization", "Bearer abcdef"]]}, "callback_param.headers"),
        ({"headers": [{"name": "authorization", "value": "Bearer abcdef"}]}, "callback_param.headers"),
        ({"requests": [{"headers": {"Cookie": "a=b"}}]}, "callback_param.requests[0].headers"),
        ({"headers": [{"X-Api-Key": "abcdef"}]}, "callback_param.headers[0]"),
        ({"a": {"b": {"c": {"d": {"e": {"headers": {"X-Api-Key": "a"}}}}}}}, "callback_param.a.b.c.d.e.headers"),
    ],
)
def test_headers_with_credentials_are_found_in_lists_and_at_any_depth(param: dict[str, Any], path: str) -> None:
    """The hint names what there is for a webhook, too."""
    with pytest.raises(CallbackParamError, match=f"^{re.escape(path)} of .* has the header") as caught:
        parse_callbacks("https://example.org/hook", param)
    assert '{"webhook": {"headers": {...}}}' in caught.value.hint
    assert "abcdef" not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize(
    "fields", [[["policy", "e30="], ["x-amz-signature", "a"]], {"policy": "", "x-amz-signature": ""}]
)
def test_form_fields_are_rejected_in_lists_and_at_any_depth(fields: Any) -> None:
    """As lists of names and values too."""
    for _ in range(3_000):
        fields = [fields]
    with pytest.raises(InvalidS3FieldsError, match="the fields of a form"):
        parse_callbacks("https://example.org/hook", {"run": fields})


def test_parameter_that_contains_itself_is_searched_once() -> None:
    """It can't be sent, which is found when it is encoded."""
    param: dict[str, Any] = {"run": []}
    param["run"].append(param["run"])
    (callback,) = parse_callbacks("https://example.org/hook", param)
    assert set(callback.param) == {"run"}


@pytest.mark.parametrize(
    ("http", "problem"),
    [
        (["PUT"], "is a list, not a dict"),
        ({"header": {}, "method": "PUT"}, "has a member 'header'; it takes method and headers"),
        ({"headers": {}}, "has no method"),
        ({"method": "POST"}, "has the method 'POST', not 'PUT'"),
        ({"method": "PUT", "headers": ["a"]}, "has headers that are a list, not a dict"),
    ],
)
def test_error_of_http_names_the_wrong_member(http: Any, problem: str) -> None:
    """One look is enough to correct it."""
    with pytest.raises(CallbackParamError, match=f"^http of https://example.org/file {problem}"):
        parse_callbacks("https://example.org/file", {"http": http})


@pytest.mark.parametrize("kind", [list, tuple])
def test_pair_of_pairs_is_no_target(kind: type) -> None:
    """However deeply they nest."""
    value: Any = "https://example.org/"
    for _ in range(3_000):
        value = kind([value, {"run": 1}])
    with pytest.raises(InvalidTargetError, match="A callback URL is a string"):
        parse_callbacks([value])


def test_return_value_of_boto3_is_a_target_and_callback_param_another_name_of_param() -> None:
    """`generate_presigned_post` returns a dict with url and fields."""
    form = {"key": "k", "policy": "e30=", "x-amz-signature": "a" * 64}
    (callback,) = parse_callbacks({"url": "https://b.s3.eu-central-1.amazonaws.com/", "fields": form})
    assert callback.fields is not None
    assert callback.fields.reveal() == form
    (callback,) = parse_callbacks({"url": "https://example.org/", "callback_param": {"run": 1}})
    assert callback.param == {"run": 1}
