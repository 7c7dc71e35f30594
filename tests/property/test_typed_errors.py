"""Any value at any entry point: what is raised is an error of this package, of the kind that is documented."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from callback_sdk import (
    AddressGuard,
    Client,
    JobResult,
    Outbox,
    ResultsWriter,
    S3Signer,
    Timeouts,
    check_target,
    cli,
    webhooks,
)
from callback_sdk.client.callbacks import CallbackResolver
from callback_sdk.client.form import form_fields
from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    EncodingError,
    InvalidRequestError,
    OutboxError,
    SigningError,
    TargetError,
    WebhookVerificationError,
)
from callback_sdk.redaction import Secret
from callback_sdk.targets import TargetSettings
from callback_sdk.transport.http import HTTPSender
from tests.property.strategies import anything, keys

few = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

URL = "https://example.org/done"
BUCKET_URL = "https://results.s3.eu-central-1.amazonaws.com/runs/1.json"

texts = st.sampled_from(["", "private", "runs/", "a\r\nb", "\ud800", "${filename}", "x" * 2_000]) | st.text(max_size=8)
names = st.sampled_from(
    ["acl", "ACL", "Content-Type", "content-type", "key", "bucket", "file", "x-amz-meta-a", "x-amz-date", "snowball"]
)
conditions = st.lists(
    anything
    | st.dictionaries(names | st.integers() | st.none(), texts | anything, max_size=2)
    | st.tuples(
        st.sampled_from(["eq", "starts-with", "content-length-range", "in"]) | anything,
        names.map(lambda name: f"${name}") | anything,
        texts | anything,
    ).map(list),
    max_size=3,
)

params = st.dictionaries(
    st.sampled_from(["s3_fields", "s3_headers", "http", "refresh", "headers", "run", "Authorization"]),
    anything
    | st.dictionaries(st.sampled_from(["method", "headers", "policy", "x-amz-signature", "key"]), anything, max_size=3),
    max_size=3,
)
places = st.sampled_from([URL, BUCKET_URL, "https://a..b/", "https://\ud800/", "https://h/\ud800", "http://[::1"])
targets = anything | places | st.tuples(places, params | anything) | st.lists(places | st.tuples(places, params))


@pytest.fixture(scope="module")
def signer() -> S3Signer:
    """Sign for one bucket, with invented credentials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        return S3Signer("results", region="eu-central-1")


def accepted(call: Callable[[], Any], *errors: type[CallbackSDKError]) -> Any:
    """Return what a call returns; None if it raises one of these errors, whose text can be printed."""
    try:
        return call()
    except errors as error:
        str(error).encode()
        return None


@few
@given(
    key=keys | anything,
    options=st.fixed_dictionaries(
        {},
        optional={
            "expires": anything,
            "content_type": texts | anything,
            "acl": texts | anything,
            "metadata": st.dictionaries(texts, texts, max_size=3) | anything,
            "if_none_match": anything,
        },
    ),
)
@example(key="k", options={"metadata": {"snowball-auto-extract": "true"}})
@example(key="k", options={"metadata": {"a": "1", "A": "2"}})
@example(key="k", options={"metadata": {str(number): "" for number in range(101)}})
def test_puts_that_are_signed_are_accepted(signer: S3Signer, key: Any, options: dict[str, Any]) -> None:
    """The signer raises SigningError, or returns what `check` accepts."""
    put = accepted(lambda: signer.presign_put(key, **options), SigningError)
    if put is not None:
        check_target(put)


@few
@given(
    key=keys | anything,
    options=st.fixed_dictionaries(
        {},
        optional={
            "expires": anything,
            "fields": st.dictionaries(names | texts, texts, max_size=3) | anything,
            "conditions": conditions | anything,
            "content_type": texts | anything,
            "acl": texts | anything,
            "metadata": st.dictionaries(texts, texts, max_size=3) | anything,
            "max_bytes": anything,
        },
    ),
)
@example(key="k", options={"content_type": "text/plain\r\nx: y"})
@example(key="k", options={"fields": {"ACL": "a", "acl": "a"}})
@example(key="k", options={"fields": {"acl": "private"}, "conditions": [{"acl": "public-read"}]})
@example(key="b", options={"conditions": [["starts-with", "$key", "runs/"]]})
@example(key="k", options={"conditions": [["content-length-range", 9, 1]]})
@example(key="k", options={"conditions": [["content-length-range", float("nan"), 1]]})
@example(key="k", options={"conditions": [{"bucket": "another"}]})
@example(key="k", options={"fields": {"x-amz-meta-a": "${filename}"}})
@example(key="k", options={"fields": {f"x-amz-meta-{number}": "" for number in range(94)}})
@example(key="k", options={"fields": {"x-amz-meta-a": "ü" * 9_000}})
@example(key="k", options={"fields": {"x-amz-meta-a": "\ud800"}})
@example(key="k", options={"max_bytes": True})
@example(key="k", options={"max_bytes": 10**5000})
def test_forms_that_are_signed_are_accepted(signer: S3Signer, key: Any, options: dict[str, Any]) -> None:
    """The signer raises SigningError, or returns a form that `check` accepts if no field is left to others."""
    post = accepted(lambda: signer.presign_post(key, **options), SigningError)
    if post is not None and _named(options.get("conditions")) <= {"bucket", *map(str.lower, post.fields)}:
        check_target(post)


def _named(conditions: Any) -> set[str]:
    """Return the fields that conditions name."""
    lists = [condition for condition in conditions or () if not isinstance(condition, dict)]
    dicts = [condition for condition in conditions or () if isinstance(condition, dict)]
    ranges = ("content-length-range",)
    named = {condition[1].removeprefix("$") for condition in lists if condition[0].lower() not in ranges}
    return {name.lower() for name in (*named, *(name for one in dicts for name in one))}


@few
@given(many=anything)
def test_keys_of_many_are_checked(signer: S3Signer, many: Any) -> None:
    """Anything in place of a list of keys."""
    for sign in (signer.presign_put_many, signer.presign_post_many):
        accepted(lambda sign=sign: list(sign(many)), SigningError)  # type: ignore[misc]


@few
@given(url=targets, param=params | anything)
def test_targets_of_a_check(url: Any, param: Any) -> None:
    """`check_target` raises TargetError."""
    accepted(lambda: check_target(url, param), TargetError)


@few
@given(st.dictionaries(st.sampled_from(["url", "headers"]) | texts, anything | texts, max_size=3) | anything)
@example({"url": "https://issuer.example/", "headers": {"\ud800": "x"}})
@example({"url": "https://issuer.example/" + "\u0315\u0300" * 10_000})
def test_issuers_of_a_target(refresh: Any) -> None:
    """`refresh` is an issuer, nothing, or a `TargetError`."""
    try:
        target = check_target(URL, {"refresh": refresh})
    except TargetError as error:
        assert error.hint  # noqa: PT017 - most values are rejected
    else:
        assert (target.callback.issuer is None) == (refresh is None)


@few
@given(given=st.tuples(targets, st.none() | params | anything, st.none()) | st.tuples(st.none(), st.none(), targets))
def test_targets_of_a_submission(given: tuple[Any, Any, Any]) -> None:
    """`run_algorithm` raises TargetError, and EncodingError for a parameter that JSON can't hold."""
    resolver = CallbackResolver(Secret(None), TargetSettings())
    found = accepted(lambda: resolver.resolve(Secret(given)), TargetError)
    if found is not None:
        accepted(lambda: form_fields(found, version=None), EncodingError)


@few
@given(
    options=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("version", "evaluate", "monitor", "compression", "priority", "export_new_version"), anything
        ),
    )
)
def test_options_of_a_submission(options: dict[str, Any]) -> None:
    """They are checked before anything is sent."""
    accepted(lambda: form_fields((), **{"version": None, **options}), InvalidRequestError, EncodingError)


@pytest.fixture(scope="module")
def no_network() -> Iterator[None]:
    """Let every attempt fail as if the target were down."""

    def fail(self: HTTPSender, upload: Any) -> Any:
        upload.body.read()
        raise DeliveryError("down")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPSender, "exchange", fail)
        yield


@few
@pytest.mark.usefixtures("no_network")
@given(
    url=targets,
    param=st.none() | params | anything,
    job=st.dictionaries(st.sampled_from(["job_id", "success", "results", "error", "status"]), anything),
)
def test_targets_of_a_write(url: Any, param: Any, job: dict[str, Any]) -> None:
    """`JobResult` raises EncodingError; `write` also TargetError, and the DeliveryError of this test."""
    result = accepted(lambda: JobResult(**{"job_id": "1", "success": True, **job}), EncodingError)
    with ResultsWriter(timeout=0) as writer:
        accepted(lambda: writer.write(result, url, param), EncodingError, TargetError, DeliveryError)


@settings(few, max_examples=60)
@pytest.mark.usefixtures("no_network")
@given(url=targets, param=st.none() | params | anything, results=anything)
def test_targets_of_an_outbox(tmp_path_factory: pytest.TempPathFactory, url: Any, param: Any, results: Any) -> None:
    """The same, and OutboxError."""
    with Outbox(tmp_path_factory.mktemp("outbox") / "o") as outbox:
        result = JobResult(job_id="1", success=True, results=results)
        accepted(lambda: outbox.write(result, url, param), EncodingError, TargetError, DeliveryError, OutboxError)


@few
@given(
    options=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                "storage_endpoints",
                "webhook_secrets",
                "timeout",
                "compress",
                "max_webhook_bytes",
                "guard",
                "client_cert",
                "attempt_timeouts",
                "aistore_clusters",
            ),
            anything,
        ),
    )
)
def test_options_of_a_writer(options: dict[str, Any]) -> None:
    """A wrong one is a ConfigurationError of the constructor."""
    writer = accepted(lambda: ResultsWriter(**options), ConfigurationError)
    if writer is not None:
        writer.close()


json_texts = st.one_of(
    (targets | anything).map(lambda value: _json(value)),
    st.text(max_size=40),
    st.sampled_from(
        ["[null]", "[[]]", "[" * 100_000, "9" * 5000, '[["https://example.org/", {"run": NaN}]]', '["\\ud800"]']
    ),
)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, default=repr)
    except (ValueError, TypeError, RecursionError):
        return "[]"


@few
@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("command", ["check", "check --webhook", "send", "submit"])
@given(text=json_texts)
def test_target_files_of_commands(
    monkeypatch: pytest.MonkeyPatch, command: str, tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """`check`, `send` and `submit` end with a code and one line for whatever is in the file."""
    monkeypatch.setenv("CALLBACK_SDK_RETRIES", "0")
    monkeypatch.setenv("CALLBACK_SDK_TOKEN", "token")
    folder = tmp_path_factory.mktemp("targets")
    path, data = folder / "targets", folder / "data.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    data.write_text('{"a": [1]}')
    arguments = {
        "check": ["check", "--no-resolve", str(path)],
        "check --webhook": ["check", "--no-resolve", "--webhook", str(path)],
        "send": ["send", "--timeout", "1ms", "--job-id", "1", str(data), str(path)],
        "submit": ["submit", "a", str(data), "--callbacks-file", str(path), "--url", "http://127.0.0.1:9/api/v2"],
    }
    assert cli.main(arguments[command]) in (0, 1, 2)


@settings(few, max_examples=30)
@given(
    bucket=st.just("results") | anything,
    options=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("client", "region", "endpoint_url", "addressing_style"), anything)
    ),
)
def test_options_of_a_signer(monkeypatch: pytest.MonkeyPatch, bucket: Any, options: dict[str, Any]) -> None:
    """A wrong one is a SigningError of the constructor."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    accepted(lambda: S3Signer(bucket, **options), SigningError)


@few
@given(options=st.fixed_dictionaries({}, optional=dict.fromkeys(("allow_networks", "allow_hosts"), anything)))
def test_options_of_a_guard(options: dict[str, Any]) -> None:
    """A wrong one is a ConfigurationError of the constructor."""
    accepted(lambda: AddressGuard(**options), ConfigurationError)


@few
@given(options=st.fixed_dictionaries({}, optional=dict.fromkeys(("connect", "read", "attempt"), anything)))
def test_options_of_timeouts(options: dict[str, Any]) -> None:
    """A wrong one is a ConfigurationError of the constructor."""
    accepted(lambda: Timeouts(**options), ConfigurationError)


@settings(few, max_examples=60)
@given(
    path=st.just("outbox") | anything,
    options=st.fixed_dictionaries({}, optional=dict.fromkeys(("writer", "receipt_retention", "create"), anything)),
)
def test_options_of_an_outbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, path: Any, options: dict[str, Any]
) -> None:
    """A wrong one is an error of the constructor."""
    monkeypatch.chdir(tmp_path_factory.mktemp("outbox"))
    outbox = accepted(lambda: Outbox(path, **options), ConfigurationError, OutboxError)
    if outbox is not None:
        outbox.close()


secrets = st.just("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") | anything
webhook_headers = st.fixed_dictionaries(
    {name: st.sampled_from(["1", "v1,x", "9" * 30]) | anything for name in ("webhook-id", "webhook-timestamp")},
    optional={"webhook-signature": st.sampled_from(["v1,eHg=", "v1,\ud800", "v1"]) | anything},
)


@few
@given(
    secret=secrets,
    headers=webhook_headers | anything,
    body=st.binary(max_size=9) | anything,
    options=st.fixed_dictionaries({}, optional={"tolerance": anything}),
)
def test_webhooks_that_are_verified(secret: Any, headers: Any, body: Any, options: dict[str, Any]) -> None:
    """A receiver's own mistake is a ConfigurationError; whatever arrives is a WebhookVerificationError."""
    accepted(lambda: webhooks.verify(secret, headers, body, **options), ConfigurationError, WebhookVerificationError)


@few
@given(
    url=st.just("http://127.0.0.1:9/api/v2") | anything,
    options=st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("token", "username", "password", "timeout", "connect_timeout", "retries"), anything),
            **dict.fromkeys(("callback_url", "storage_endpoints", "config"), anything),
        },
    ),
)
def test_options_of_a_client(monkeypatch: pytest.MonkeyPatch, url: Any, options: dict[str, Any]) -> None:
    """A wrong one is a ConfigurationError of the constructor."""
    for name in ("CALLBACK_SDK_URL", "CALLBACK_SDK_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    client = accepted(lambda: Client(url, **options), ConfigurationError, TargetError)
    if client is not None:
        client.close()


@few
@given(
    place=st.text(max_size=20)
    | st.sampled_from(["bucket/k", "s3://bucket/k\r\n", "bucket/\ud800", "b/" + "k" * 2_000]),
    kind=st.sampled_from(["put", "post"]),
    option=st.sampled_from(
        ["--expires", "--content-type", "--acl", "--metadata", "--field", "--max-bytes", "--region"]
    ),
    text=st.text(max_size=9)
    | st.sampled_from(["a=b", "6h", "1", "9" * 5_000, "a=\r\n", "Content-Type=\r\n", "-1", "a=\ud800"]),
)
def test_arguments_of_sign(monkeypatch: pytest.MonkeyPatch, place: str, kind: str, option: str, text: str) -> None:
    """The command ends with a code and one line for any text."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    assert cli.main(["sign", kind, place, "--json", "--region", "eu-central-1", option, text]) in (0, 1, 2)
