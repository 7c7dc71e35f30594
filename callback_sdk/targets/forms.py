"""Form uploads: S3 presigned POSTs, and policy documents of Google Cloud Storage, the same with other field names.

Source: "POST Object" in Amazon's S3 API reference; the form is multipart/form-data (RFC 7578).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote

from attrs import define, evolve

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidS3FieldsError, OutputError
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.dialects import AMAZON, FILENAME, Dialect
from callback_sdk.targets.members import SIGNATURE_FIELDS
from callback_sdk.targets.operations import S3, check_endpoint, key_warnings
from callback_sdk.targets.provider_table import Feature, Provider
from callback_sdk.targets.signatures import (
    AMAZON_V2,
    AMAZON_V4,
    GOOGLE_V2,
    GOOGLE_V4,
    Form,
    FormParameters,
    Parameters,
    Version4,
    check_forms,
    check_session,
)
from callback_sdk.targets.target import Target, TargetSettings
from callback_sdk.targets.upload import Upload

if TYPE_CHECKING:
    from callback_sdk.targets.policies import Policy

_MAX_KEY = 1024
"""Maximum bytes of a key in UTF-8 ("Creating object key names", Amazon S3 User Guide)."""

_SIGNATURES = frozenset(
    {
        *("X-Amz-Signature", "X-Goog-Signature", "Signature", "sig", "x-oss-signature", "q-signature", "temp_url_sig"),
        *("X-Tos-Signature", "X-Kss-Signature"),
    }
)


@define(frozen=True, kw_only=True)
class FormPost(Target):
    """An S3 presigned POST: a form with the signed fields in order, and the document as its file.

    The file comes last: S3 ignores fields after it.

    Attributes:
        policy: The policy.
        prefix: What precedes the names of output files in their keys; None if the policy permits one key only.
        filename: Name of the form's file, which the store puts in place of `${filename}`; None for the document's.
    """

    kind = "s3-post"
    method = "POST"
    accepts = frozenset({200, 201, 204})
    compressible = False
    own: ClassVar[frozenset[str]] = frozenset()
    """Fields, in lower case, of which each identifies a form of this kind. Without any, it is the kind of the rest."""
    dialect: ClassVar[Dialect] = AMAZON
    version: ClassVar[Version4] = AMAZON_V4
    forms: ClassVar[Mapping[str, Form]] = AMAZON_V2

    policy: Policy
    prefix: str | None = None
    filename: str | None = None

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        if callback.fields is None:
            return None
        names = {name.lower() for name in callback.fields.reveal()}
        url = callback.url
        if _SIGNATURES & url.query_names():
            raise InvalidS3FieldsError(
                f"{url} is a signed URL and has s3_fields too: one of the two belongs to another target.",
                hint="For a presigned PUT URL leave s3_fields out. For a presigned POST give the URL that was "
                "returned with the fields.",
                url=str(url),
            )
        if not names & SIGNATURE_FIELDS or "policy" not in names:
            raise InvalidS3FieldsError(
                f"s3_fields of {url} has no policy or no signature.",
                hint="These are probably the fields passed to generate_presigned_post. Give the ones that it "
                'returned: response["fields"].',
                url=str(url),
            )
        if not cls.is_own(names, settings.stores.provider(url)):
            return None
        check_endpoint(url, S3, form=True)
        fields = SecretFields({name.lower(): value for name, value in callback.fields.reveal().items()})
        cls.check_signature(FormParameters(url, fields))
        with no_fork:
            from callback_sdk.targets.policies import parse_policy

        policy = parse_policy(url, callback.fields, cls.dialect)
        return cls(callback=callback, policy=policy, expires_at=policy.expires_at)._complete()

    def _complete(self) -> FormPost:
        """Return the form with its prefix, and with the fields that its signer left to whoever sends it."""
        key = self._field("key") or ""
        prefix = key.removesuffix(FILENAME)
        if prefix == key or not self.policy.allows_any("key", prefix):
            return self._with({})
        named = self.callback.prefix
        return evolve(self, prefix=prefix)._with({} if named is None else {"key": f"{prefix}{named.document}"})

    def _with(self, fields: Mapping[str, str]) -> FormPost:
        """Return the form with other fields, and with a Content-Type if the policy permits one and it has none."""
        if self._field("content-type") is None and self.policy.demands("content-type", self.media_type):
            fields = {**fields, "content-type": self.media_type}
        if not fields:
            return self
        names = {name.lower(): name for name in self._fields.reveal()}
        given = {names.get(name, name): value for name, value in fields.items()}
        sent, original = SecretFields({**self._fields.reveal(), **given}), self.callback.given or self.callback
        return evolve(self, callback=evolve(self.callback, fields=sent, given=original))

    def takes_outputs(self) -> bool:
        """See `Target.takes_outputs`."""
        return self.prefix is not None

    def below(self, name: str, media_type: str) -> Target:
        """See `Target.below`."""
        key = f"{self.prefix}{name}"
        if len(key.encode()) > _MAX_KEY:
            raise OutputError(
                f"The key of the output file {name} at {self.callback.url} would have {len(key.encode())} bytes; "
                f"{_MAX_KEY} are allowed.",
                hint="Give the file a shorter name, or presign a shorter prefix.",
                name=name,
            )
        fields = {"content-type": media_type} if self.policy.demands("content-type", media_type) else {}
        form = evolve(self, media_type=media_type, prefix=None, filename=name.rpartition("/")[2])
        return form._with({"key": key, **fields})

    @classmethod
    def is_own(cls, names: Set[str], provider: Provider | None) -> bool:
        """Tell whether a form is of this kind.

        Args:
            names: Names of its fields, in lower case.
            provider: The provider of its host; None for an unknown host.
        """
        return not cls.own or not cls.own.isdisjoint(names)

    @classmethod
    def check_signature(cls, parameters: Parameters) -> None:
        """Check that the fields of the signature are complete.

        Raises:
            InvalidS3FieldsError: One is missing or malformed.
        """
        if parameters.find(f"{cls.version.prefix}Signature"):
            cls.version.check(parameters)
        else:
            check_forms(parameters, cls.forms)
            check_session(parameters, "AWSAccessKeyId")

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; checks the fields against the policy too."""
        Target.check(self, now=now, size=size)
        self.policy.check(self.callback.url, self._fields, size, subject=self.subject)

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """See `Target.warnings`."""
        own = key_warnings(self.callback.url, self._field("key") or "") if self.kind == FormPost.kind else ()
        return (*Target.warnings(self, now), *own)

    def needs(self) -> frozenset[Feature]:
        """See `Target.needs`."""
        return frozenset({"form", "acl"} if self._field("acl") else {"form"})

    def success_statuses(self) -> frozenset[int]:
        """See `Target.success_statuses`.

        With `success_action_redirect`, S3 responds with 303 after it has stored the object; it is not followed.
        """
        asked = self._field("success_action_redirect") or self._field("redirect")
        return self.accepts | {303} if asked else self.accepts

    def signed_encoding(self) -> str | None:
        """See `Target.signed_encoding`."""
        return self._field("content-encoding")

    def public_path_start(self, provider: Provider | None) -> int | None:
        """See `Target.public_path_start`; the path is the bucket, whose name may be a random one.

        At an unknown host only the policy tells that the path's last segment is the bucket, and not a token.
        """
        path = self.callback.url.path.rstrip("/")
        place, _, last = path.rpartition("/")
        if provider is not None or not last:
            return 0
        return len(place) + 1 if unquote(last) in (self._field("bucket"), self.policy.bucket) else None

    def object_url(self, delivery_id: str) -> str | None:
        """See `Target.object_url`."""
        # A URL whose path is a credential must not be given to another target.
        if self.callback.url.has_secret_path:
            return None
        key = (self._field("key") or "").replace(FILENAME, self._filename(delivery_id))
        return f"{self.callback.url.bare.rstrip('/')}/{quote(key)}"

    def upload(self, document: Body, *, delivery_id: str, now: datetime, encoding: str | None = None) -> Upload:
        """See `Target.upload`; the encoding of a form is in a signed field, so `encoding` isn't used."""
        filename = self._filename(delivery_id)
        self.policy.check(self.callback.url, self._fields, document.size, filename, subject=self.subject)
        return Target.upload(self, document, delivery_id=delivery_id, now=now)

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        with no_fork:
            from callback_sdk.documents.multipart import FormFile, encode_form

        content_type = self._field("content-type") or self.media_type
        file = FormFile(name="file", filename=self._filename(delivery_id), content_type=content_type, body=document)
        body, form_type = encode_form(self._fields, [file])
        return SecretFields({"content-type": form_type}), body

    def _filename(self, delivery_id: str) -> str:
        return self.filename or f"{delivery_id}.json"

    def _field(self, name: str) -> str | None:
        return next((value for key, value in self._fields.reveal().items() if key.lower() == name), None)

    @property
    def _fields(self) -> SecretFields:
        return self.callback.fields or SecretFields({})


class GCSPost(FormPost):
    """A policy document of Google Cloud Storage: the same form with other field names."""

    kind = "gcs-post"
    own = frozenset({"x-goog-signature", "googleaccessid"})
    version = GOOGLE_V4
    forms = GOOGLE_V2
