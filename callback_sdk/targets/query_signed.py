"""Signed URLs that have an access key, its signature and their expiry in the query, like those of S3 with Version 2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from callback_sdk.documents.body import Body
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.expiry import EPOCH, parse_expiry, seconds
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.operations import Family, check_object_key, check_operation
from callback_sdk.targets.signatures import Form, QueryParameters, check_forms
from callback_sdk.targets.target import Target, TargetSettings


class QuerySignedPut(Target):
    """A signed URL that signs values of headers, such as Content-Type, without naming them.

    So none of these headers is sent unless it was given.
    """

    marks: ClassVar[frozenset[str]]
    """Parameters that together no other kind has."""
    forms: ClassVar[Mapping[str, Form]]
    family: ClassVar[Family]

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if not cls.marks <= url.query_names():
            return None
        check_forms(QueryParameters(url), cls.forms)
        check_operation(callback, cls.family)
        check_object_key(url, cls.family, settings.stores)
        return cls(callback=callback, expires_at=parse_expiry(url, lambda: EPOCH + seconds(url, "Expires")))

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return given_headers(self.callback), document
