"""Check that a signed URL or form has every parameter of its signature, each in its form; pure.

Sources: "Authenticating Requests: Using Query Parameters" and "POST Policy" in Amazon's S3 API reference; "Signatures"
and "Policy document" in Google's documentation of Cloud Storage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar

from attrs import define, field

from callback_sdk.errors import InvalidS3FieldsError, InvalidTargetError, TargetError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.amazon import amazon_host, is_amazon, is_region
from callback_sdk.targets.expiry import incomplete_url_error


@define(frozen=True, eq=False, repr=False)
class Form:
    """The form of a parameter's value.

    Attributes:
        pattern: What it must match.
        text: Its name, as it completes "is not".
    """

    pattern: re.Pattern[str]
    text: str

    def matches(self, value: Secret[str]) -> bool:
        """Tell whether a value has this form."""
        pattern = self.pattern
        return pattern.fullmatch(value.reveal()) is not None


ANY = Form(re.compile("(?s).+"), "a value")
NAMES = Form(re.compile("[A-Za-z0-9!#$%&'*+.^_`|~;-]+"), "a list of header names")
SECONDS = Form(re.compile("[0-9]{1,12}"), "a number of seconds")
V4_TIME = Form(re.compile("[0-9]{8}T[0-9]{6}Z"), "a time such as 20300131T120000Z")
HEX_SHA256 = Form(re.compile("[0-9a-fA-F]{64}"), "64 hexadecimal digits")
# DER (RFC 3279, section 2.2.3): the second byte is the length of the rest, which varies by a few bytes.
HEX_ECDSA = Form(
    re.compile(
        "(?i)3046[0-9a-f]{140}|3045[0-9a-f]{138}|3044[0-9a-f]{136}|3043[0-9a-f]{134}|3042[0-9a-f]{132}|3041[0-9a-f]{130}"
    ),
    "the hexadecimal digits of an ECDSA signature",
)
# RSA keys of service accounts have 2,048 to 4,096 bits. Half a signature must not look like one of a shorter key.
HEX_RSA = Form(
    re.compile("[0-9a-fA-F]{512}|[0-9a-fA-F]{768}|[0-9a-fA-F]{1024}"),
    "the hexadecimal digits of an RSA signature",
)
BASE64_SHA1 = Form(re.compile("[A-Za-z0-9+/]{27}="), "the base64 of 20 bytes (a '+' in a URL is escaped as %2B)")
BASE64_SHA256 = Form(re.compile("[A-Za-z0-9+/]{43}="), "the base64 of 32 bytes (a '+' in a URL is escaped as %2B)")
BASE64_RSA = Form(
    # The same keys, or an HMAC-SHA1 with an HMAC key.
    re.compile("[A-Za-z0-9+/]{342}==|[A-Za-z0-9+/]{512}|[A-Za-z0-9+/]{683}=|[A-Za-z0-9+/]{27}="),
    "the base64 of a signature (a '+' in a URL is escaped as %2B)",
)
SWIFT_SIGNATURE = Form(
    re.compile(
        "[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128}|sha1:[A-Za-z0-9+/_-]{27}=?"
        "|sha256:[A-Za-z0-9+/_-]{43}=?|sha512:[A-Za-z0-9+/_-]{86}(?:==)?"
    ),
    "hexadecimal digits of SHA-1, SHA-256 or SHA-512, nor base64 after sha1:, sha256: or sha512:",
)
SWIFT_TIME = Form(
    re.compile("[0-9]{1,12}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
    "a number of seconds, nor a time such as 2030-01-31T12:00:00Z",
)


_SESSION_TOKENS = ("X-Amz-Security-Token", "x-amz-security-token", "X-Amz-S3session-Token")
"""Parameters with the token of temporary credentials. Signature Version 2 has it in lower case, with the headers."""


class Parameters:
    """The parameters of a signature."""

    url: SecretURL

    def find(self, name: str) -> Secret[str] | None:
        """Return a parameter by its name; None if it is missing."""
        raise NotImplementedError

    def error(self, problem: str) -> TargetError:
        """Return the error for an incomplete signature."""
        raise NotImplementedError

    def check_once(self, names: Iterable[str]) -> None:
        """Reject a signature with a parameter that is there more than once; a form has each field once.

        Raises:
            TargetError: One is; the text names it.
        """


@define(frozen=True, eq=False, repr=False)
class QueryParameters(Parameters):
    """The parameters in a signed URL's query. Stores compare their names case-sensitively.

    Attributes:
        url: The URL.
    """

    url: SecretURL

    def find(self, name: str) -> Secret[str] | None:
        """See `Parameters.find`."""
        return self.url.secret_query(name)

    def error(self, problem: str) -> TargetError:
        """See `Parameters.error`."""
        return incomplete_url_error(self.url, problem)

    def check_once(self, names: Iterable[str]) -> None:
        """See `Parameters.check_once`; stores reject such a URL, or read either of the values."""
        if repeated := sorted(self.url.repeated_names().intersection(names)):
            raise InvalidTargetError(
                f"{self.url} has the parameter {repeated[0]} of its signature twice: it was signed twice.",
                hint="Sign the URL of the object without a query, once.",
                url=str(self.url),
            )


@define(frozen=True, eq=False, repr=False)
class FormParameters(Parameters):
    """The parameters in a form's fields. Stores compare their names case-insensitively.

    Attributes:
        url: URL of the form.
        fields: Its fields, with names in lower case.
    """

    url: SecretURL
    fields: SecretFields

    def find(self, name: str) -> Secret[str] | None:
        """See `Parameters.find`."""
        found = name.lower() in self.fields.reveal()
        return Secret(self.fields.reveal()[name.lower()]) if found else None

    def error(self, problem: str) -> TargetError:
        """See `Parameters.error`."""
        return InvalidS3FieldsError(
            f"s3_fields of {self.url} are incomplete: {problem}.",
            hint="Pass all fields unchanged, as the signer returned them.",
            url=str(self.url),
        )


def check_forms(parameters: Parameters, forms: Mapping[str, Form]) -> None:
    """Reject a signature with a parameter that is missing, malformed, or there more than once.

    Args:
        parameters: All parameters.
        forms: The required ones.

    Raises:
        TargetError: One is missing, repeated, or has another form; the text names it.
    """
    parameters.check_once(forms)
    for name, form in forms.items():
        value = parameters.find(name)
        if value is None:
            raise parameters.error(f"{name} is missing")
        if not form.matches(value):
            raise parameters.error(f"{name} is not {form.text}")


def check_session(parameters: Parameters, key: str) -> None:
    """Reject a signature with temporary credentials of Amazon and without their session token.

    Args:
        parameters: All parameters.
        key: The parameter that begins with the access key id.

    Raises:
        TargetError: The token is missing.
    """
    parameters.check_once(_SESSION_TOKENS)
    # "IAM identifiers" in Amazon's IAM User Guide: ids of temporary access keys begin with ASIA.
    is_temporary = is_amazon(parameters.url.host) and _plain(parameters, key).startswith("ASIA")
    if is_temporary and not any(parameters.find(name) for name in _SESSION_TOKENS):
        raise parameters.error(f"{_SESSION_TOKENS[0]} is missing, and its access key is a temporary one")


@define(frozen=True, kw_only=True, eq=False, repr=False)
class Version4:
    """Signature Version 4 of one vendor.

    Attributes:
        prefix: Prefix of the parameters.
        algorithms: Algorithms, each with the form of its signature.
        services: Services in the credential scope.
        end: Last part of the credential scope.
    """

    MULTI_REGION: ClassVar[str] = "AWS4-ECDSA-P256-SHA256"
    """Signature Version 4A, for multi-region access points: its scope has no region."""

    prefix: str
    algorithms: Mapping[str, Form]
    services: frozenset[str]
    end: str
    _own: frozenset[str] = field(init=False)
    _common: Mapping[str, Form] = field(init=False)
    _query: Mapping[str, Form] = field(init=False)

    @_own.default
    def _find_own(self) -> frozenset[str]:
        return frozenset(f"{self.prefix}{part}" for part in ("Algorithm", "Credential", "SignedHeaders", "Signature"))

    @_common.default
    def _find_common(self) -> Mapping[str, Form]:
        return {f"{self.prefix}Algorithm": ANY, f"{self.prefix}Credential": ANY, f"{self.prefix}Date": V4_TIME}

    @_query.default
    def _find_query(self) -> Mapping[str, Form]:
        return {f"{self.prefix}Expires": SECONDS, f"{self.prefix}SignedHeaders": NAMES, **self._common}

    def has_signed(self, url: SecretURL) -> bool:
        """Tell whether a URL has a parameter that identifies the signature, complete or not."""
        return not self._own.isdisjoint(url.query_names())

    def check_url(self, url: SecretURL) -> None:
        """Check the parameters in a URL's query.

        Raises:
            TargetError: One is missing or malformed, or they are for another service or region.
        """
        parameters = QueryParameters(url)
        check_forms(parameters, self._query)
        if "host" not in (url.query(f"{self.prefix}SignedHeaders") or "").lower().split(";"):
            raise parameters.error(f"{self.prefix}SignedHeaders doesn't have host")
        self._check(parameters)

    def check(self, parameters: Parameters) -> None:
        """Check the parameters that URLs and forms have.

        Raises:
            TargetError: One is missing or malformed, or they are for another service or region.
        """
        check_forms(parameters, self._common)
        self._check(parameters)

    def _check(self, parameters: Parameters) -> None:
        prefix = self.prefix
        algorithm = _plain(parameters, f"{prefix}Algorithm")
        if algorithm not in self.algorithms:
            raise parameters.error(f"{prefix}Algorithm is not {' or '.join(self.algorithms)}")
        check_forms(parameters, {f"{prefix}Signature": self.algorithms[algorithm]})
        if algorithm == self.MULTI_REGION:
            check_forms(parameters, {f"{prefix}Region-Set": ANY})
        self._check_scope(parameters, has_region=algorithm != self.MULTI_REGION)
        check_session(parameters, f"{prefix}Credential")

    def _check_scope(self, parameters: Parameters, *, has_region: bool) -> None:
        """Check the credential scope: key id, date, region, service and the constant end, separated by slashes."""
        name, count = f"{self.prefix}Credential", 4 if has_region else 3
        # The id itself may contain a slash, and doesn't belong into a local variable.
        scope = _plain(parameters, name).rsplit("/", count)[1:]
        if len(scope) < count or scope[-1] != self.end or _plain(parameters, name).startswith("/"):
            parts = "KEY/DATE/REGION/SERVICE" if has_region else "KEY/DATE/SERVICE"
            raise parameters.error(f"{name} is not {parts}/{self.end}")
        if scope[0] != _plain(parameters, f"{self.prefix}Date")[:8]:
            raise parameters.error(f"{name} has another date than {self.prefix}Date")
        if scope[-2] not in self.services:
            raise _signed_for_another(parameters.url, "service than object storage")
        host = amazon_host(parameters.url) if has_region else None
        if host is not None and host.region is not None and scope[1] != host.region:
            raise _signed_for_another(parameters.url, f"region than its host's, {host.region}")
        if host is not None and not is_region(scope[1]):
            # Some SDKs sign for "undefined", "auto" or "accelerate".
            raise _signed_for_another(parameters.url, "region than those of Amazon S3")


def _plain(parameters: Parameters, name: str) -> str:
    value = parameters.find(name)
    return "" if value is None else value.reveal()


def _signed_for_another(url: SecretURL, what: str) -> InvalidTargetError:
    return InvalidTargetError(
        f"{url} was signed for another {what}.",
        hint="Presign put_object with an S3 client of the bucket's region: S3Signer(bucket, region=...).",
        url=str(url),
    )


AMAZON_V4 = Version4(
    prefix="X-Amz-",
    algorithms={"AWS4-HMAC-SHA256": HEX_SHA256, Version4.MULTI_REGION: HEX_ECDSA},
    services=frozenset({"s3", "s3express", "s3-outposts", "s3-object-lambda"}),
    end="aws4_request",
)

GOOGLE_V4 = Version4(
    prefix="X-Goog-",
    algorithms={"GOOG4-RSA-SHA256": HEX_RSA, "GOOG4-HMAC-SHA256": HEX_SHA256},
    services=frozenset({"storage"}),
    end="goog4_request",
)

AMAZON_V2 = {"AWSAccessKeyId": ANY, "Signature": BASE64_SHA1}
GOOGLE_V2 = {"GoogleAccessId": ANY, "Signature": BASE64_RSA}
