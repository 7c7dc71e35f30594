"""`callback-sdk check`: what it takes, prints and ends with."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import S3Signer
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import ip_literal, port_of
from tests.signedurls import form, sas, v4

Run = Callable[..., tuple[int, str, str]]

BARE = "https://bucket.s3.eu-central-1.amazonaws.com/runs/1.json"


def signed(run: Run, *options: str, kind: str = "put") -> str:
    code, out, err = run("sign", kind, "s3://bucket/runs/1.json", "--region", "eu-central-1", *options)
    assert (code, err) == (0, "")
    return out


def facts(run: Run, target: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
    code, out, err = run("check", "-", "--json", "--no-resolve", *options, stdin=target)
    assert err == ""
    return code, json.loads(out)


def url_of(**more: str) -> str:
    """Return a URL that has just been signed."""
    return f"{BARE}?{v4(date=datetime.now(timezone.utc), **more)}"


def test_a_signed_url_is_explained(run: Run) -> None:
    """What it is, until when, and what goes with it; the signature is not repeated."""
    url = signed(run, "--expires", "6h")
    assert url.startswith(f"{BARE}?")
    code, out, _ = run("check", "-", "--no-resolve", stdin=url)
    assert code == 0
    assert "s3-put" in out
    assert re.search("EXPIRES IN\t(5:59:5|6:00:00)", out)
    assert url.strip().rpartition("=")[2] not in out
    code, ((shown),) = facts(run, url)
    assert (code, shown["method"], shown["object"], shown["problem"]) == (0, "PUT", BARE, None)
    assert shown["headers"] == ["content-type"]
    assert 6 * 3600 - 60 < shown["expires_in"] <= 6 * 3600


def test_headers_that_were_signed_travel_with_the_url(run: Run) -> None:
    """A URL alone would not tell them, so it isn't printed alone."""
    options = ("--content-type", "application/json", "--metadata", "run=42", "--if-none-match")
    code, out, err = run("sign", "put", "bucket/runs/1.json", "--region", "eu-central-1", *options)
    assert (code, out) == (2, "")
    assert "--json" in err
    _, ((shown),) = facts(run, signed(run, *options, "--json"))
    assert shown["headers"] == ["content-type", "if-none-match", "x-amz-meta-run"]
    assert shown["problem"] is None


def test_a_signed_form_is_explained(run: Run) -> None:
    """Its fields are named, and their values are not."""
    form = signed(
        run, "--field", "acl=private", "--max-bytes", "1000", "--content-type", "application/json", kind="post"
    )
    code, ((shown),) = facts(run, form)
    assert (code, shown["kind"], shown["method"], shown["object"]) == (0, "s3-post", "POST", BARE)
    assert {"acl", "policy", "x-amz-signature"} <= set(shown["fields"])
    (given,) = json.loads(form)
    code, out, _ = run("check", "-", "--no-resolve", stdin=form)
    assert code == 0
    assert not any(given["param"]["s3_fields"][name] in out for name in ("policy", "x-amz-signature"))


def test_what_boto3_returns_is_taken(run: Run, tmp_path: Path) -> None:
    """`generate_presigned_post` has `url` and `fields`; a file may hold several targets."""
    (given,) = json.loads(signed(run, kind="post"))
    targets = [{"url": given["url"], "fields": given["param"]["s3_fields"]}, "https://example.org/done"]
    (tmp_path / "targets.json").write_text(json.dumps(targets))
    code, out, _ = run("check", "targets.json", "--json", "--no-resolve")
    assert code == 0
    assert [one["kind"] for one in json.loads(out)] == ["s3-post", "webhook"]


def test_invalid_json_is_named_with_its_position(run: Run, tmp_path: Path) -> None:
    """Without the text, which may have credentials."""
    (tmp_path / "targets.json").write_text('{"url": "https://example.org/?sig=secret-value",\n}')
    code, _, err = run("check", "targets.json")
    assert code == 1
    assert "The targets are not valid JSON" in err
    assert "line 2, column 1" in err
    assert "secret-value" not in err


@pytest.mark.parametrize(
    "content",
    [
        b"curl -H 'Authorization: Bearer secret-value' https://example.org/x",
        b"Authorization: Bearer secret-value",
        b"post = {'url': 'https://example.org/', 'fields': {'policy': 'secret-value'}}",
        "https://example.org/?sig=secret-value".encode("utf-16"),
    ],
)
def test_file_that_is_neither_a_url_nor_json_is_not_shown(run: Run, tmp_path: Path, content: bytes) -> None:
    """It may have credentials anywhere."""
    (tmp_path / "targets.txt").write_bytes(content)
    code, out, err = run("check", "targets.txt")
    assert code == 1
    assert "neither one URL nor JSON" in err
    assert "secret-value" not in out + err


def test_results_of_a_service_are_named(run: Run) -> None:
    """Not hidden as a URL whose host is unknown."""
    code, out, _ = run("check", "results:", "--json")
    assert code == 1
    assert json.loads(out)[0]["url"] == "results:…"


def test_byte_order_mark_is_not_a_part_of_the_target(run: Run, tmp_path: Path) -> None:
    """PowerShell and Notepad write one."""
    (tmp_path / "targets.json").write_text('["https://example.org/done"]', encoding="utf-8-sig")
    code, out, _ = run("check", "targets.json", "--json", "--no-resolve")
    assert code == 0
    assert json.loads(out)[0]["kind"] == "webhook"


def test_help_shows_text_in_brackets(run: Run) -> None:
    """Rich would take it for markup."""
    _, out, _ = run("check", "--help")
    assert "[fd00::/8]:9000" in "".join(out.replace("│", "").split())


def test_what_a_store_ignores_is_a_warning(run: Run) -> None:
    """The target is valid, and the ACL has no effect there."""
    store = ("--endpoint-url", "https://0123456789abcdef.r2.cloudflarestorage.com")
    target = signed(run, "--acl", "private", "--json", *store)
    code, ((shown),) = facts(run, target)
    assert (code, shown["problem"]) == (0, None)
    assert [text.partition(":")[0] for text in shown["warnings"]] == ["Cloudflare R2 has no ACLs of single objects"]
    code, out, _ = run("check", "-", "--no-resolve", stdin=target)
    assert "WARNING" in out


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (BARE, "neither a signature nor s3_fields"),
        (json.dumps({"url": BARE, "param": {"s3_fields": {}}}), "s3_fields"),
        (json.dumps({"url": BARE, "fields": {"acl": "private"}}), "probably the fields passed"),
        (f"{BARE}?{v4(date='20200101T000000Z')}", "expired"),
        ("ftp://example.org/x", "the scheme ftp"),
    ],
)
def test_a_target_that_is_no_good_is_a_problem(run: Run, target: str, problem: str) -> None:
    """The exit code is 1, and the text is the error's, with what to do."""
    code, ((shown),) = facts(run, target)
    assert code == 1
    assert problem in shown["problem"]
    code, out, _ = run("check", "-", "--no-resolve", stdin=target)
    assert code == 1
    assert "PROBLEM" in out


def test_webhook_that_looks_signed_is_asked_for(run: Run) -> None:
    """By an option, or by a member of its parameter; otherwise the problem names the member."""
    url = "https://example.org/done?Signature=UmFuZG9tIHR3ZW50eSBieSE0MjE%3D&Expires=4095989824"
    code, (shown,) = facts(run, url)
    assert code == 1
    assert 'add "webhook": true to its callback_param' in shown["problem"]
    for target, options in (
        (url, ("--webhook",)),
        (json.dumps({"url": url, "param": {"webhook": True}}), ()),
        (json.dumps({"url": url, "param": {"run": 1}}), ("--webhook",)),
        (json.dumps([[url, {"run": 1}]]), ("--webhook",)),
        (json.dumps([[url, None]]), ("--webhook",)),
    ):
        code, (shown,) = facts(run, target, *options)
        assert (code, shown["kind"], shown["problem"]) == (0, "webhook", None)
    code, (shown,) = facts(run, BARE, "--webhook")
    assert code == 1
    assert "its host is an object store, Amazon S3" in shown["problem"]


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_no_target_is_an_error(run: Run, text: str) -> None:
    """Whatever was piped in, it was none."""
    code, out, err = run("check", "-", "--no-resolve", stdin=text)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")


def test_a_file_that_is_not_there_is_an_error(run: Run) -> None:
    """It is named."""
    said = "No such file or directory: nothing.json. Give a file with a URL or JSON, or a complete URL."
    assert run("check", "nothing.json") == (1, "", f"Error: {said}\n")


@pytest.mark.parametrize(
    "given",
    [
        "example.org/done?token=s3cretT0ken",
        "user:s3cretT0ken@example.org/done",
        "//user:s3cretT0ken@example.org/done",
        "https:/user:s3cretT0ken@example.org/done",
        "https:user:s3cretT0ken@example.org",
        "https://https://user:s3cretT0ken@example.org",
        "https://user:s3cretT0ken%40example.org",
        "https://user:s3cret/T0ken@example.org",
        "hooks.slack.com/services/T1/B1/s3cretT0ken",
    ],
)
def test_mistyped_url_is_not_quoted_with_its_credential(run: Run, given: str) -> None:
    """Without a scheme it is taken for the name of a file; with a wrong one a password is in the place of the path."""
    _, out, err = run("check", "--no-resolve", given)
    assert "T0ken" not in out + err
    assert out + err


def test_json_of_another_form_is_told_the_right_one(run: Run) -> None:
    """A target is one level down in what some services return."""
    code, (found,) = facts(run, json.dumps({"target": {"url": BARE}}))
    assert code == 1
    assert '{"url": "https://...", "param": {...}}' in found["problem"]


ADDRESSES = {
    "bucket.s3.eu-central-1.amazonaws.com": "52.219.170.1",
    "hooks.example.org": "93.184.215.14",
    "minio.internal": "10.20.0.7",
}
"""What the resolver of the tests knows: three names."""


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve these names only, without a network."""

    def look_up(url: SecretURL, deadline: float) -> Any:
        host = url.host
        address = host if ip_literal(host) is not None else ADDRESSES.get(host)
        if address is None:
            raise OSError(f"{host} has no address")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port_of(url)))]

    monkeypatch.setattr("callback_sdk.transport.connect.resolve", look_up)


@pytest.mark.usefixtures("resolver")
@pytest.mark.parametrize(
    ("host", "options", "address", "warning"),
    [
        ("hooks.example.org", (), "allowed", None),
        ("minio.internal:9000", (), "rejected", "resolves to a private address"),
        ("127.0.0.1:9000", (), "rejected", "is not public (loopback)"),
        ("localhost", (), "rejected", "is this machine itself"),
        ("[fd00::5]", (), "rejected", "is not public (unique local)"),
        ("minio.internal:9000", ("--allow-host", "minio.internal:9000"), "allowed", None),
        ("127.0.0.1:9000", ("--allow-network", "127.0.0.0/8:9000"), "allowed", None),
        ("unknown.example.org", (), "unresolvable", "can't be resolved here"),
        ("minio.internal", ("--no-resolve",), "not resolved", None),
        ("127.0.0.1", ("--no-resolve",), "rejected", "is not public (loopback)"),
    ],
)
def test_address_is_what_a_service_makes_of_it(
    run: Run, host: str, options: tuple[str, ...], address: str, warning: str | None
) -> None:
    """SSRF protection of a service with the same settings; the target itself is valid all the same."""
    code, out, _ = run("check", "-", "--json", *options, stdin=f"http://{host}/done")
    (shown,) = json.loads(out)
    assert (code, shown["problem"], shown["address"]) == (0, None, address)
    assert [warning in text for text in shown["warnings"]] == ([True] if warning else [])


@pytest.mark.usefixtures("resolver")
def test_address_of_an_invalid_target_is_shown_too(run: Run) -> None:
    """Both mistakes in one go."""
    code, out, _ = run("check", "-", "--json", stdin="http://minio.internal:9000/b/k?X-Amz-Signature=a")
    (shown,) = json.loads(out)
    assert (code, shown["address"]) == (1, "rejected")
    assert shown["problem"]


@pytest.mark.usefixtures("resolver")
def test_settings_of_the_service_apply(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On its machine the command has its environment."""
    monkeypatch.setenv("CALLBACK_SDK_ALLOW_HOSTS", "minio.internal:9000")
    code, out, _ = run("check", "-", stdin="http://minio.internal:9000/done")
    assert code == 0
    assert re.search("ADDRESS\tallowed", out)


@pytest.mark.parametrize(
    ("query", "operation"),
    [
        ({"x-id": "PutObject"}, "upload of one object"),
        ({}, "upload of one object, if it was signed for PUT, which the URL doesn't tell"),
        ({"x-id": "GetObject"}, None),
    ],
)
def test_operation_is_what_the_url_tells(run: Run, query: dict[str, str], operation: str | None) -> None:
    """Only aws-sdk-js and its like name it; another one than the upload is the problem."""
    code, ((shown),) = facts(run, url_of(**query))
    assert shown["operation"] == operation
    assert (code, shown["problem"] is None) == ((0, True) if operation else (1, False))


def test_assumed_value_of_a_signed_header_is_a_warning(run: Run) -> None:
    """A URL names the headers it signed without their values."""
    url = url_of(signed="content-type;host")
    _, ((shown),) = facts(run, url)
    assert [text.partition(",")[0] for text in shown["warnings"]] == ["The URL is signed with a Content-Type"]
    headers = {"Content-Type": ["text/csv"], "Host": ["bucket"]}
    _, ((shown),) = facts(run, json.dumps({"url": url, "param": {"s3_headers": headers}}))
    assert (shown["warnings"], shown["headers"]) == ([], ["content-type"])


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "target",
    [
        "https://hooks.slack.com/services/T00000000/B00000000/MARKERtoken",
        "https://api.telegram.org/bot123456:MARKERtoken/sendDocument",
        "https://discord.com/api/webhooks/123456/MARKERtoken",
        "https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/MARKERtoken/n/ns/b/bucket/o/key",
        "https://example.org/done?token=MARKERtoken",
        "https://user:MARKERkey@example.org/done",
        "https://a.blob.core.windows.net/c/k?sv=2024-11-04&se=2099-01-01T00%3A00%3A00Z&sr=b&sp=cw&sig=MARKERsig",
        f"https://a.blob.core.windows.net/c/k?{sas(se='2099-01-01T00:00:00Z', sig='MARKER' + 37 * 'A' + '=')}",
        url_of(**{"X-Amz-Security-Token": "MARKERtoken"}, key="MARKERKEY"),
        {"url": BARE, "param": form(expires="2099-01-01T00:00:00Z", **{"x-amz-security-token": "MARKERtoken"})},
        f"{BARE}?X-Amz-Signature=MARKERsig&X-Amz-Security-Token=MARKERtoken",
        {"url": BARE, "fields": {"key": "k", "policy": "MARKERpolicy", "x-amz-signature": "MARKERsig"}},
        {"url": BARE, "param": {"s3_fields": {"key": "k", "policy": "e30=", "AWSAccessKeyId": "MARKERkey"}}},
        {"url": "https://example.org/f", "param": {"http": {"method": "PUT", "headers": {"X-Api-Key": "MARKERkey"}}}},
        {"url": f"{BARE}?X-Amz-Signature=a", "param": {"s3_headers": {"x-amz-security-token": "MARKERtoken"}}},
        {"url": f"{BARE}?X-Amz-Signature=a", "param": {"s3_headers": {"x-amz-meta-a": ["MARKERkey", 1]}}},
    ],
)
def test_no_credential_is_printed(run: Run, target: Any, as_json: bool) -> None:
    """Neither of a valid target nor of an invalid one, in no part of the output."""
    given = target if isinstance(target, str) else json.dumps(target)
    options = ("--json",) if as_json else ()
    _, out, err = run("check", "-", "--no-resolve", *options, stdin=given)
    assert "MARKER" not in out + err


def test_no_credential_of_a_signed_header_is_printed(run: Run) -> None:
    """The key of server-side encryption is sent, and only its header's name is shown."""
    name = "x-amz-server-side-encryption-customer-key"
    url = url_of(signed=f"host;{name}")
    given = json.dumps({"url": url, "param": {"s3_headers": {name: "MARKERkey"}}})
    code, out, err = run("check", "-", "--no-resolve", stdin=given)
    assert code == 0
    assert name in out
    assert "MARKER" not in out + err


def test_target_in_aistore_is_told_what_is_not_enforced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither signatures nor If-None-Match; the setting lets a service reach it, and isn't shown."""
    monkeypatch.setenv("CALLBACK_SDK_AISTORE_CLUSTERS", "http://10.0.0.5:8080=MARKER")
    url = f"http://10.0.0.5:8080/s3/b/k?{v4(date=datetime.now(timezone.utc), signed='host;if-none-match')}"
    code, (shown,) = facts(run, url)
    assert (code, shown["provider"], shown["address"], shown["problem"]) == (0, "AIStore", "allowed", None)
    text = " ".join(shown["warnings"])
    assert "ignores If-None-Match" in text
    assert "verifies no signatures" in text
    assert "MARKER" not in json.dumps(shown)


def test_pair_of_url_and_parameter_is_a_target(run: Run) -> None:
    """As `send` and `submit` take it."""
    code, found = facts(run, json.dumps([["https://example.org/done", {"run": 1}], "https://example.org/2"]))
    assert (code, [one["url"] for one in found]) == (0, ["https://example.org/done", "https://example.org/2"])


@pytest.mark.parametrize("target", ["[null]", "[[]]", "[5]", '[["https://example.org/"]]', '[[[["https://h/"]]]]'])
def test_target_of_another_type_is_a_problem(run: Run, target: str) -> None:
    """And not a traceback."""
    code, ((shown),) = facts(run, target)
    assert code == 1
    assert "A callback URL is a string" in shown["problem"]


@pytest.mark.parametrize(
    "url",
    [
        *("https://a..b/", "https://.example.org/", "https://ex%61mple.org/", "https://*.example.org/", "https://a b/"),
        *("https://example.org/\ud800", "https://example.org/?x=\ud800", "https://\ud800.example.org/"),
    ],
)
def test_url_that_can_never_be_sent_to_is_a_problem(run: Run, url: str) -> None:
    """Without resolving its host, and before a task is submitted."""
    code, ((shown),) = facts(run, json.dumps([url]))
    assert code == 1
    assert shown["problem"]


def test_encoding_that_is_not_supported_is_a_problem(run: Run) -> None:
    """Before a document is sent."""
    target = {"url": url_of(signed="host;content-encoding"), "param": {"s3_headers": {"Content-Encoding": "br"}}}
    code, ((shown),) = facts(run, json.dumps(target))
    assert code == 1
    assert "unsupported Content-Encoding" in shown["problem"]


def test_size_range_of_a_form_is_no_problem(run: Run) -> None:
    """The size of the document isn't known yet."""
    post = S3Signer("bucket", region="eu-central-1").presign_post("k", conditions=[["content-length-range", 100, 900]])
    code, ((shown),) = facts(run, json.dumps({"url": post.url, "fields": post.fields}))
    assert (code, shown["problem"]) == (0, None)


def test_file_without_end_is_an_error(run: Run) -> None:
    """It is read up to a limit."""
    code, out, err = run("check", "/dev/zero")
    assert (code, out) == (1, "")
    assert "more than" in err
