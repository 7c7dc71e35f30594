"""Damaged and wrongly signed URLs and forms: the check before sending agrees with what the store answers.

Each mutation is made after signing, and before it with a right signature. No store rejects what the check passed for a
reason that the URL or the form tells, and the check rejects nothing that a store accepts. `DIFFERENCES` has the
exceptions, each with its reason.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import define

from callback_sdk import check_target
from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackSDKError, TargetError
from callback_sdk.targets.upload import Upload
from callback_sdk.transport.http import HTTPSender
from tests.checkers import mutations, places, resign, signer_values
from tests.checkers.places import Place, Post, Put

S3 = ("S3PutV4", "S3PutV2")
S3_FORMS = ("S3PostV4", "S3PostV2")
FORMS = (*S3_FORMS, "GCSPostV4", "GCSPostV2", "OSSPost", "COSPost", "OBSPost")
STAND_INS = ("GCSPutV4", "GCSPutV2", "OSSPut", "OSSPutV1", "COSPut", "OBSPut", "SwiftTempURL")
AZURE = ("AzureBlob", "AzureAccount", "AzureContainer")
URLS = (*S3, *AZURE, *STAND_INS)

STRICTER = "the store stores it, and the check rejects it"
LAXER = "the check passes it, and the store rejects it"


@define(frozen=True)
class Difference:
    """Mutations that check and store may judge differently.

    Attributes:
        kinds: Kinds of targets.
        which: `STRICTER` or `LAXER`.
        text: What the description of the mutation must match, with the error's class or the store's code after it.
        reason: Why.
    """

    kinds: tuple[str, ...]
    which: str
    text: str
    reason: str


DIFFERENCES = (
    # Reasons that no URL and no form tells.
    Difference(
        (*S3, "GCSPutV2", "S3PostV2", "GCSPostV2"),
        LAXER,
        ".*InvalidAccessKeyId",
        "Only the store knows its keys.",
    ),
    Difference(AZURE, LAXER, "more: (si=unknown|ses).*", "Only the store knows them."),
    Difference(AZURE, LAXER, ".*AuthorizationPermissionMismatch", "sp=c creates a blob, and this one exists."),
    Difference(("SwiftTempURL",), LAXER, "more: temp_url_ip_range=10.*", "The address of the worker isn't known."),
    Difference(("COSPut",), LAXER, "q-(sign|key)-time: not begun.*", "It may begin before the job ends."),
    Difference(
        (*S3[:1], "GCSPutV4"), LAXER, "X-(Amz|Goog)-SignedHeaders: (order|twice).*", "The signer may have sorted them."
    ),
    # What stores differ in; the check warns.
    Difference(S3, LAXER, "slash after the key.*", "Amazon S3 stores it; SeaweedFS creates a folder."),
    Difference(
        S3,
        LAXER,
        "(a dot segment|two dots|escaped dots).*InvalidRequest",
        "Amazon S3 stores it (`Object key naming guidelines`).",
    ),
    Difference(S3[:1], LAXER, "X-Amz-Expires: eight days.*", "IBM Cloud and others take more than seven days."),
    Difference(
        AZURE[:1],
        LAXER,
        "no bucket.*InvalidResourceName",
        "A blob in the root container; the emulator takes it for a container.",
    ),
    # What SeaweedFS takes and Amazon S3 rejects.
    Difference(
        S3, STRICTER, ".*WrongOperationError", "SeaweedFS has no such operation, and ignores the parameter (`Actions`)."
    ),
    Difference(
        S3[:1],
        STRICTER,
        "X-Amz-Credential: (another service|service in upper case).*",
        "The service is s3 (`Using Query Parameters`).",
    ),
    Difference(
        S3[:1], STRICTER, "X-Amz-SignedHeaders: without host.*", "host must be signed (`Using Query Parameters`)."
    ),
    Difference(
        S3, STRICTER, "(X-Amz-)?Expires: sign.*", "A number of seconds has digits only (`Using Query Parameters`)."
    ),
    Difference(
        S3[1:],
        STRICTER,
        "Expires: milliseconds.*",
        "Amazon S3: `Invalid date (should be seconds since epoch)` (transloadit/uppy, issue 1130).",
    ),
    Difference(
        ("S3PutV2", "S3PostV2"),
        STRICTER,
        "[Ss]ignature: .*newline.*",
        "SeaweedFS skips line breaks in base64; a signature has none (`Signing REST Requests`).",
    ),
    Difference(
        S3_FORMS,
        STRICTER,
        "additional: (a status|another field|an ACL|a type); PolicyError",
        "`Each form field must appear in the list of conditions` (`POST Policy`; minio/minio, issue 8498).",
    ),
    Difference(
        S3_FORMS,
        STRICTER,
        "additional: a file; InvalidS3FieldsError",
        "The part `file` is the document (`POST Object`).",
    ),
    Difference(
        (*S3_FORMS, "GCSPostV2"),
        STRICTER,
        "(additional: a bucket|bucket: .*); PolicyError",
        "The field is another bucket than the policy's; these stores compare that of the URL.",
    ),
    Difference((*S3_FORMS, "GCSPostV2"), STRICTER, "policy, without condition .*PolicyError", "As additional fields."),
    Difference(
        S3_FORMS,
        STRICTER,
        "policy, condition: any unknown field.*",
        "Amazon S3: `Policy Condition failed` (waynehoover/s3_direct_upload, issue 29).",
    ),
    Difference(
        S3_FORMS,
        STRICTER,
        "policy, expiration in upper case.*",
        "Go's JSON matches names in any letter case; `POST Policy` has them in lower case.",
    ),
    Difference(S3_FORMS[:1], STRICTER, "policy(:|,) empty.*", "The policy is required (`POST Object`)."),
    Difference(
        (*S3, *STAND_INS),
        STRICTER,
        "[^:]+: twice.*InvalidTargetError",
        "SeaweedFS and the stand-ins take the first value; other stores take the last, or reject the URL.",
    ),
    # What Azurite takes and Azure rejects.
    Difference(AZURE, STRICTER, "(se|sig): value escaped twice.*", "Azurite decodes values twice."),
    Difference(
        AZURE,
        STRICTER,
        "se: (value in lower case|space|newline|seconds).*",
        "Azure takes ISO 8601 only (`Formatting DateTime values`).",
    ),
    Difference(AZURE, STRICTER, "sv: .*", "Azurite runs with --skipApiVersionCheck; sv is a date (`Versioning`)."),
    Difference(
        AZURE,
        STRICTER,
        "more: .*WrongOperationError",
        "201 without the operation; `Put Blob` has none of these parameters.",
    ),
    Difference(("AzureAccount",), STRICTER, "se: empty.*", "se is required (`Create an account SAS`)."),
    # The stand-ins know PutObject only.
    Difference(STAND_INS, STRICTER, ".*WrongOperationError", "The stand-in has no other operations."),
)


@define(frozen=True, kw_only=True)
class Example:
    """A mutated callback.

    Attributes:
        text: The mutation.
        signed: Whether it was signed after the mutation.
        url: The URL.
        param: `callback_param`.
        plain: The request of a client that checks nothing; None if there can't be one.
    """

    text: str
    signed: bool
    url: str
    param: dict[str, Any] | None
    plain: Callable[[Body], Upload]


def examples(place: Place) -> Iterator[Example]:
    """Yield each mutation, and the same with a right signature."""
    yield from of_form(place) if isinstance(place, Post) else of_url(place)


def of_url(place: Place) -> Iterator[Example]:
    assert isinstance(place, Put)
    url = place.sign()
    names_headers = place.kind in ("s3-put", "gcs-put", "cos-put")
    sent = {"content-type": "application/json"} if names_headers else {}
    azure = {"x-ms-blob-type": "BlockBlob"} if place.kind == "azure-blob" else {}

    def example(text: str, url: str, signed: bool) -> Example:
        return Example(
            text=text,
            signed=signed,
            url=url,
            param=None,
            plain=lambda body: places.raw("PUT", url.strip(), {**sent, **azure}, body),
        )

    for text, damaged in mutations.damaged(url):
        yield example(text, damaged, False)
        if (again := resign.url(place, damaged, sent)) is not None:
            yield example(text, again, True)
    more = signer_values.MORE[place.kind.partition("-")[0]]
    for text, made in mutations.with_values(url, signer_values.values(place, url), more):
        again = resign.url(place, made, sent)
        yield example(text, made if again is None else again, again is not None)


def of_form(place: Place) -> Iterator[Example]:
    assert isinstance(place, Post)
    fields = place.sign()
    policy = json.loads(base64.b64decode(fields["policy"]))
    policies = ((f"policy, {text}", {**fields, "policy": other}) for text, other in mutations.policies(policy))

    def example(text: str, fields: Mapping[str, str], signed: bool) -> Example:
        return Example(
            text=text,
            signed=signed,
            url=place.url,
            param={"s3_fields": dict(fields)},
            plain=lambda body: places.raw_form(place.url, fields, body),
        )

    for text, other in mutations.forms(fields):
        yield example(text, other, False)
        if (again := resign.form(place, other)) not in (None, other):
            yield example(text, again or {}, True)
    for text, other in policies:
        yield example(text, resign.form(place, other) or other, True)


FORGED = frozenset({"SignatureDoesNotMatch", "AuthenticationFailed", "AuthorizationFailure", "TempURLInvalid"})
"""Answers to a signature that isn't the one of the request: only who has the secret can know."""


class Judge:
    """Compares the check with the store.

    Args:
        place: Kind of target and store.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sender = HTTPSender()
        self._stored = _reader(place)
        self._numbers = itertools.count(10**6)

    def difference(self, example: Example) -> str | None:
        """Return how check and store differ, with the reason of the one that rejects; None if they agree."""
        document = Body(b'{"job_id":"%d"}' % next(self._numbers))
        upload, problem = None, ""
        try:
            target = check_target(
                example.url, example.param, storage_endpoints=[self._place.endpoint], size=document.size
            )
            upload = target.upload(document, delivery_id="msg_1", now=datetime.now(timezone.utc))
        except TargetError as error:
            problem = type(error).__name__
        code = self._send(example, upload, document)
        if problem:
            return None if code else f"{STRICTER}: {problem}"
        return f"{LAXER}: {code}" if code and (example.signed or code not in FORGED) else None

    def _send(self, example: Example, upload: Upload | None, document: Body) -> str:
        """Send the upload, or what a client would send that checks nothing; return why nothing was stored."""
        try:
            answer = self._sender.send(upload or example.plain(document))
        except CallbackSDKError as error:
            # Nothing can be sent to such a URL, or the store closed the connection.
            return type(error).__name__
        if not 200 <= answer.status < 300:
            found = re.search("<Code>([A-Za-z]+)</Code>", answer.body.decode(errors="replace"))
            return found[1] if found else str(answer.status)
        return "" if self._stored(document) else "nothing stored"

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()


def _reader(place: Any) -> Callable[[Body], bool]:
    """Return what tells whether a store has a document."""
    if isinstance(place, places.S3):
        client = place.server.client()

        def in_bucket(document: Body) -> bool:
            digest = f'"{base64.b64decode(document.content_md5).hex()}"'
            return digest in [item["ETag"] for item in client.list_objects_v2(Bucket=place.bucket).get("Contents", [])]

        return in_bucket
    if isinstance(place, places.AzureBlob):
        container = place.server.client().get_container_client("results")

        def in_container(document: Body) -> bool:
            digest = base64.b64decode(document.content_md5)
            return digest in [bytes(blob.content_settings.content_md5 or b"") for blob in container.list_blobs()]

        return in_container
    return lambda document: document.read() in place.server.objects.values()


@pytest.mark.parametrize("name", [*URLS, *FORMS])
def test_check_agrees_with_the_store(place: Callable[[type[Place]], Place], name: str) -> None:
    """Every difference is a known one, and every known one still exists."""
    there = place(getattr(places, name))
    known = [difference for difference in DIFFERENCES if name in difference.kinds]
    judge, found, unused = Judge(there), [], set(known)
    for example in examples(there):
        text = judge.difference(example)
        if text is None:
            continue
        which, _, why = text.partition(": ")
        case = f"{example.text}{' (signed)' if example.signed else ''}; {why}"
        reasons = [row for row in known if row.which == which and re.fullmatch(row.text, case)]
        unused -= set(reasons)
        if not reasons:
            found.append(f"{which}: {case}")
    judge.close()
    assert not found, "\n".join(["differences", *found])
    assert not unused, "\n".join(["not found anymore", *(row.text for row in unused)])
