"""Signed URLs and forms that are damaged anywhere are rejected, and never used as webhooks."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.errors import TargetError
from callback_sdk.targets import check_target
from callback_sdk.text.limits import MAX_FIELDS, MAX_URL
from tests.growth import assert_linear
from tests.signedurls import (
    EMAIL,
    KEY,
    RSA,
    SHA1,
    cos,
    cos_form_fields,
    form,
    google_fields,
    google_v2,
    google_v4,
    obs,
    oss_fields,
    oss_v1,
    oss_v2,
    oss_v4,
    sas,
    signed_fields,
    swift,
    v2,
    v4,
)

FUTURE = "20991129T210504Z"


def signature_last(query: str) -> str:
    """Return a query in the order of boto3: the signature is at the end."""
    pairs = query.split("&")
    return "&".join(sorted(pairs, key=lambda pair: "-Signature=" in pair))


QUERIES = {
    "s3-put": signature_last(v4(date=FUTURE)),
    "s3-put-v2": v2(expires=4095989824),
    "gcs-put": signature_last(google_v4(date=FUTURE)),
    "gcs-put-v2": google_v2(expires=4095989824),
    "azure-blob": sas(se="2099-01-01T00:00:00Z"),
    "azure-blob of an account": sas(se="2099-01-01T00:00:00Z", sr=None, ss="b", srt="o"),
    "oss-put": oss_v4(date=FUTURE),
    "oss-put of Version 2": oss_v2(expires=4095989824),
    "oss-put-v1": oss_v1(expires=4095989824),
    "cos-put": cos(expires=4095989824),
    "obs-put": obs(expires=4095989824),
    "swift-put": swift(expires=4095989824),
    "azure-blob of the portal": f"sp=cw&st=2024-01-01T00:00:00Z&{sas(se='2099-01-01T00:00:00Z', sp=None)}",
}

IDENTIFIED = {
    "s3-put": "X-Amz-",
    "s3-put-v2": "AWSAccessKeyId",
    "gcs-put": "X-Goog-",
    "gcs-put-v2": "GoogleAccessId",
    "azure-blob": "&sp=c",
    "azure-blob of an account": "&sp=c",
    "oss-put": "x-oss-",
    "oss-put of Version 2": "x-oss-",
    "oss-put-v1": "OSSAccessKeyId",
    "cos-put": "q-sign-algorithm",
    # An AccessKeyId alone could be a webhook's.
    "obs-put": "Expires=409598982",
    "swift-put": "temp_url_",
    "azure-blob of the portal": "&st=2024-01-01T00:00",
}
"""Up to where a URL has to be whole to be identified as a signed one."""

hosts = st.sampled_from(["files.example.org", "minio:9000", "127.0.0.1:9000", "a.blob.core.windows.net"])
keys = st.text(min_size=1, max_size=20).map(lambda text: "results/" + quote(text, safe=""))
kinds = st.sampled_from(sorted(QUERIES))

MUTATIONS: dict[str, Callable[[str], str]] = {
    "ampersands of HTML": lambda query: query.replace("&", "&amp;"),
    "ampersands of JSON": lambda query: query.replace("&", "\\u0026"),
    "escaped twice": lambda query: quote(query, safe="=&"),
    "separators escaped": lambda query: query.replace("&", "%26"),
    "the whole query escaped": lambda query: quote(query, safe=""),
}


def rejected(url: str, param: object = None) -> None:
    with pytest.raises(TargetError):
        check_target(url, param)


@pytest.mark.parametrize("kind", QUERIES)
def test_signed_url_is_recognized(kind: str) -> None:
    """The URLs that are damaged below are complete."""
    assert check_target(f"https://files.example.org/results/42.json?{QUERIES[kind]}").kind == kind.partition(" ")[0]


@pytest.mark.parametrize("kind", QUERIES)
def test_url_that_was_cut_anywhere_is_rejected(kind: str) -> None:
    """At an unknown host it could be a webhook otherwise."""
    query = QUERIES[kind]
    start = query.index(IDENTIFIED[kind]) + len(IDENTIFIED[kind])
    for end in range(start, len(query)):
        rejected(f"https://files.example.org/results/42.json?{query[:end]}")


@pytest.mark.parametrize("kind", QUERIES)
def test_url_that_lacks_any_parameter_is_rejected(kind: str) -> None:
    """Stores would reject it, or it was for something else."""
    pairs = QUERIES[kind].split("&")
    for number, pair in enumerate(pairs):
        if pair.startswith("st="):
            continue  # optional
        rejected(f"https://files.example.org/results/42.json?{'&'.join(pairs[:number] + pairs[number + 1 :])}")


@given(kinds, hosts, keys, st.sampled_from(sorted(MUTATIONS)))
def test_damaged_url_is_rejected_at_any_host(kind: str, host: str, key: str, mutation: str) -> None:
    """Whatever the object is called."""
    damaged = MUTATIONS[mutation](QUERIES[kind])
    if damaged != QUERIES[kind]:
        rejected(f"https://{host}/{key}?{damaged}")


@given(kinds.filter(lambda kind: kind.startswith(("s3-", "gcs-"))), hosts, keys, st.data())
def test_url_with_a_name_in_another_case_is_rejected(kind: str, host: str, key: str, data: st.DataObject) -> None:
    """Stores compare names case-sensitively. Those of the other kinds are in lower case, or those of webhooks too."""
    names = re.findall("(?:^|&)([^=]*)", QUERIES[kind])
    changed = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    query = QUERIES[kind]
    for name in changed if "v2" not in kind else names:
        query = query.replace(f"{name}=", f"{name.lower()}=")
    rejected(f"https://{host}/{key}?{query}")


@given(st.text(max_size=200), hosts)
def test_any_query_is_a_webhook_or_a_typed_error(query: str, host: str) -> None:
    """No text raises anything else."""
    try:
        check_target(f"https://{host}/{query}?{query}")
    except TargetError:
        return


FORMS = {
    "s3-post": signed_fields(),
    "s3-post of version 2": {"AWSAccessKeyId": KEY, "signature": SHA1},
    "gcs-post": google_fields(),
    "gcs-post of version 2": {"GoogleAccessId": EMAIL, "signature": RSA},
    "oss-post": oss_fields(),
    "oss-post of version 1": {"OSSAccessKeyId": KEY, "Signature": SHA1},
    "cos-post": cos_form_fields(),
    "obs-post": {"AccessKeyId": KEY, "signature": SHA1},
}


def fields_of(kind: str) -> dict[str, str]:
    return form(expires="2099-01-01T00:00:00Z", signed=FORMS[kind])["s3_fields"]


@pytest.mark.parametrize("kind", FORMS)
def test_form_that_lacks_any_field_is_rejected(kind: str) -> None:
    """Each is in the policy, or part of the signature."""
    fields = fields_of(kind)
    assert check_target("https://files.example.org/", {"s3_fields": fields}).kind == kind.partition(" ")[0]
    for name in fields:
        rejected("https://files.example.org/", {"s3_fields": {key: fields[key] for key in fields.keys() - {name}}})


@pytest.mark.parametrize("kind", FORMS)
def test_form_with_a_field_that_was_cut_anywhere_is_rejected(kind: str) -> None:
    """The policy, the signature, and the values that the policy demands."""
    fields = fields_of(kind)
    for name in fields.keys() - {"AWSAccessKeyId", "GoogleAccessId"}:
        for end in range(len(fields[name])):
            rejected("https://files.example.org/", {"s3_fields": {**fields, name: fields[name][:end]}})


URLS: dict[str, Callable[[int], str]] = {
    "parameters": lambda size: f"{QUERIES['s3-put']}&{'a=b&' * (size // 4)}",
    "escapes": lambda size: f"{QUERIES['azure-blob']}&a={'%2525' * (size // 5)}",
    "a signature": lambda size: f"AWSAccessKeyId=A&Expires=4095989824&Signature={'A' * size}",
    "a credential": lambda size: QUERIES["s3-put"].replace(KEY, "%2F" * (size // 3)),
    "signed headers": lambda size: QUERIES["s3-put"].replace("host", "host" + "%3Ba" * (size // 4)),
    "semicolons": lambda size: "se=2099-01-01&sp=cw" + "&amp;" * (size // 5),
    "a time": lambda size: QUERIES["azure-blob"].replace("sr=b", f"sr=b&st={'2024-01-01T00:00' * (size // 16)}"),
}


@pytest.mark.parametrize("shape", URLS)
def test_a_hostile_url_is_checked_in_linear_time(shape: str) -> None:
    """URLs come from outside."""
    large = MAX_URL - 1200
    small, large_url = (f"https://files.example.org/k?{URLS[shape](size)}" for size in (large // 32, large))
    assert_linear(checked, small, large_url, ratio=16)


def test_a_hostile_form_is_checked_in_linear_time() -> None:
    """Fields come from outside, too."""

    def param(count: int) -> dict[str, dict[str, str]]:
        more = {f"x-ignore-{number}": "a" * 100 for number in range(count)}
        return {"s3_fields": {**fields_of("s3-post"), **more}}

    assert_linear(lambda own: checked("https://files.example.org/", own), param(5), param(MAX_FIELDS - 6), ratio=18)


def checked(url: str, param: object = None) -> None:
    try:
        check_target(url, param)
    except TargetError:
        return
