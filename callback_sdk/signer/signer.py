"""Presign PUT URLs and POST forms.

botocore resolves the bucket's endpoint once. The signatures are computed here: `generate_presigned_url` takes about
300 µs for each, this takes 5 µs (`benchmarks/signing.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import SigningError
from callback_sdk.models import PresignedMultipart, PresignedPost, PresignedPrefix, PresignedPut
from callback_sdk.parsing import Duration
from callback_sdk.redaction import Secret, SecretFields, SecretURL, clearing_locals
from callback_sdk.signer.buckets import Bucket
from callback_sdk.signer.options import (
    ANY_TYPE,
    Condition,
    check_headers,
    check_lifetime,
    document_name,
    encode_key,
    form_check,
    form_conditions,
    form_fields,
    lifetime,
    prefix_key,
    put_headers,
)
from callback_sdk.signer.posts import post_forms
from callback_sdk.signer.puts import put_urls
from callback_sdk.signer.signing_context import SigningContext, day_key, utc
from callback_sdk.text.descriptions import short_repr

HOUR = timedelta(hours=1)

PART_SIZE = 64 * 1024 * 1024
"""Default bytes of a part: large enough for the line, and small enough to send again."""

T = TypeVar("T", PresignedPut, PresignedPost)


class S3Signer:
    """Creates presigned PUT URLs, POST forms and multipart uploads for one bucket.

    Makes no requests, except that a multipart upload is started, and that botocore renews temporary credentials;
    thread-safe.

    Args:
        bucket: The bucket's name, or the alias or ARN of an access point in one region.
        client: A boto3 S3 client, for its credentials, region, endpoint, addressing style, FIPS, dual-stack and
            Transfer Acceleration; boto3's own credential chain and configuration when None.
        region: The bucket's region.
        endpoint_url: URL of another store than AWS; path-style by default.
        addressing_style: `"virtual"`, `"path"` or `"auto"`.

    Raises:
        SigningError: There are no credentials, no region, the bucket name is invalid, or it is a directory bucket or a
            multi-region access point.

    Example:
        >>> signer = S3Signer("results-bucket", region="eu-central-1")
        >>> put = signer.presign_put("runs/42.json", expires=timedelta(hours=6), content_type="application/json")
    """

    @clearing_locals
    def __init__(
        self,
        bucket: str,
        *,
        client: Any = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        addressing_style: str | None = None,
    ) -> None:
        if addressing_style not in (None, "auto", "virtual", "path"):
            raise SigningError(
                f"addressing_style is {short_repr(addressing_style)}.", hint="Give 'virtual', 'path' or 'auto'."
            )
        if client is not None and (region or endpoint_url):
            raise SigningError(
                "A client was given together with region or endpoint_url.",
                hint="Give these to boto3.client, or leave the client out.",
            )
        for name, value in (("region", region), ("endpoint_url", endpoint_url)):
            if value is not None and not isinstance(value, str):
                raise SigningError(f"{name} is of type {type(value).__name__}.", hint="Give a string, or None.")
        self._bucket = Bucket(
            bucket, client=client, region=region, endpoint_url=endpoint_url, addressing_style=addressing_style
        )
        self._clock: Callable[[], float] = time.time
        self._last_key = (("", ""), Secret(b""))

    def __repr__(self) -> str:
        if not hasattr(self, "_bucket"):
            # A traceback with locals shows a signer whose constructor raised.
            return "S3Signer(...)"
        return f"S3Signer({self._bucket.name!r}, region={self._bucket.location.region!r})"

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket.name

    @clearing_locals
    def presign_put(
        self,
        key: str,
        *,
        expires: Duration = HOUR,
        content_type: str | None = None,
        acl: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> PresignedPut:
        """Presign a PUT URL for one object.

        Args:
            key: The object's key.
            expires: Lifetime of the URL, a `timedelta` or seconds: 1 second to 7 days.
            content_type: The object's media type.
            acl: A canned ACL, such as `"bucket-owner-full-control"`.
            metadata: The object's metadata, without the prefix `x-amz-meta-`.
            if_none_match: Whether the store rejects the upload if the object exists.

        Returns:
            The URL, with the headers that the upload must have.

        Raises:
            SigningError: The key, the lifetime or a header is invalid, or the provider doesn't support If-None-Match.
        """
        headers = self._headers(content_type, acl, metadata, if_none_match)
        return self._puts(headers, expires, self._clock())(encode_key(key))

    @clearing_locals
    def presign_put_many(
        self,
        keys: Iterable[str],
        *,
        expires: Duration = HOUR,
        content_type: str | None = None,
        acl: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> Iterator[PresignedPut]:
        """Presign a PUT URL for each key, much faster than by calling `presign_put` for each.

        The iterator is lazy: each URL is signed when it is requested, and its lifetime begins then.

        Args:
            keys: The objects' keys.
            expires: As in `presign_put`.
            content_type: Media type of all objects.
            acl: Canned ACL of all objects.
            metadata: Metadata of all objects.
            if_none_match: As in `presign_put`.

        Returns:
            The targets, in the order of the keys.

        Raises:
            SigningError: The lifetime or a header is invalid (raised immediately), or a key (raised by the iterator).

        Example:
            >>> targets = list(signer.presign_put_many(f"runs/{n}.json" for n in range(100_000)))
        """
        headers = self._headers(content_type, acl, metadata, if_none_match)
        return self._each(keys, encode_key, partial(self._puts, headers, expires))

    @clearing_locals
    def presign_post(
        self,
        key: str,
        *,
        expires: Duration = HOUR,
        fields: Mapping[str, str] | None = None,
        conditions: Iterable[Condition] | None = None,
        content_type: str | None = None,
        acl: str | None = None,
        metadata: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
    ) -> PresignedPost:
        """Presign a POST form for one object.

        Args:
            key: The object's key; `${filename}` at its end stands for the name of the uploaded file.
            expires: Lifetime of the form, a `timedelta` or seconds: 1 second to 7 days.
            fields: Form fields, such as `{"acl": "bucket-owner-full-control", "x-amz-meta-run": "43"}`. A
                condition is added for each field without one.
            conditions: More conditions, as `generate_presigned_post` accepts them. A condition for a field that isn't
                given leaves it to whoever sends the form, such as a browser.
            content_type: Shorthand for the field `Content-Type`.
            acl: Shorthand for the field `acl`.
            metadata: Shorthand for fields with the prefix `x-amz-meta-`.
            max_bytes: Maximum size of the object.

        Returns:
            The URL and the form's fields.

        Raises:
            SigningError: The key, the lifetime, a field or a condition is invalid, the form wouldn't meet its own
                conditions, or the provider doesn't support forms, like Cloudflare R2.
        """
        form = form_fields(fields, content_type, acl, metadata)
        wanted = form_conditions(conditions, form, max_bytes, self._bucket.name)
        check = form_check(self._form_url(), form, wanted)
        return self._posts(form, wanted, expires, self._clock())(check(key))

    @clearing_locals
    def presign_prefix(
        self,
        prefix: str,
        *,
        expires: Duration = HOUR,
        document: str = "result.json",
        fields: Mapping[str, str] | None = None,
        conditions: Iterable[Condition] | None = None,
        acl: str | None = None,
        metadata: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
    ) -> PresignedPrefix:
        """Presign one form for the document of a result and any number of output files below a prefix.

        Whoever has it can write any object below the prefix, of any media type, until it expires.

        Args:
            prefix: What precedes the names of the objects in their keys; ends with a slash.
            expires: Lifetime of the form, a `timedelta` or seconds: 1 second to 7 days.
            document: Name of the document. No output file may have it.
            fields: As in `presign_post`, for all objects.
            conditions: As in `presign_post`.
            acl: Canned ACL of all objects.
            metadata: Metadata of all objects.
            max_bytes: Maximum size of each object.

        Returns:
            The URL and the form's fields.

        Raises:
            SigningError: The prefix, the document's name, the lifetime, a field or a condition is invalid, or the
                provider doesn't support forms.

        Example:
            >>> target = signer.presign_prefix("runs/42/", expires=timedelta(hours=6), max_bytes=10**9)
        """
        form = form_fields(fields, None, acl, metadata)
        wanted = [*form_conditions(conditions, form, max_bytes, self._bucket.name), ANY_TYPE]
        key = form_check(self._form_url(), form, wanted)(prefix_key(prefix))
        post = self._posts(form, wanted, expires, self._clock())(key)
        return PresignedPrefix(
            url=Secret(post.url),
            fields=SecretFields(post.fields),
            document=document_name(document),
            expires_at=post.expires_at,
        )

    @clearing_locals
    def presign_post_many(
        self,
        keys: Iterable[str],
        *,
        expires: Duration = HOUR,
        fields: Mapping[str, str] | None = None,
        conditions: Iterable[Condition] | None = None,
        content_type: str | None = None,
        acl: str | None = None,
        metadata: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
    ) -> Iterator[PresignedPost]:
        """Presign a POST form for each key, much faster than by calling `presign_post` for each.

        The iterator is lazy: each form is signed when it is requested, and its lifetime begins then.

        Args:
            keys: The objects' keys.
            expires: As in `presign_post`.
            fields: Form fields of all objects.
            conditions: More conditions for all of them.
            content_type: Shorthand for the field `Content-Type`.
            acl: Shorthand for the field `acl`.
            metadata: Shorthand for fields with the prefix `x-amz-meta-`.
            max_bytes: Maximum size of each object.

        Returns:
            The targets, in the order of the keys.

        Raises:
            SigningError: The lifetime, a field or a condition is invalid (raised immediately), or a key (raised by the
                iterator).
        """
        form = form_fields(fields, content_type, acl, metadata)
        wanted = form_conditions(conditions, form, max_bytes, self._bucket.name)
        check = form_check(self._form_url(), form, wanted)
        return self._each(keys, check, partial(self._posts, form, wanted, expires))

    @clearing_locals
    def presign_multipart(
        self,
        key: str,
        *,
        max_bytes: int,
        part_size: int = PART_SIZE,
        expires: Duration = HOUR,
        content_type: str | None = None,
        acl: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
        create: Mapping[str, Any] | None = None,
    ) -> PresignedMultipart:
        """Start a multipart upload of one object, and presign its requests: for objects over 5 GiB, and in parallel.

        This makes one request, CreateMultipartUpload. An upload that is never used stays in the bucket until it is
        aborted: by `abort_multipart`, or by a lifecycle rule with `AbortIncompleteMultipartUpload`.

        Args:
            key: The object's key.
            max_bytes: Maximum size of the object. A smaller one takes as many parts as it needs.
            part_size: Bytes of each part but the last one, 5 MiB to 5 GiB; 10,000 parts at most.
            expires: Lifetime of the URLs, a `timedelta` or seconds: 1 second to 7 days. The URL that aborts the
                upload expires a day later.
            content_type: The object's media type.
            acl: A canned ACL, such as `"bucket-owner-full-control"`.
            metadata: The object's metadata, without the prefix `x-amz-meta-`.
            if_none_match: Whether the store rejects the completion if the object exists.
            create: More arguments of boto3's `create_multipart_upload`, such as
                `{"ServerSideEncryption": "aws:kms", "Tagging": "run=42", "StorageClass": "STANDARD_IA"}`.

        Returns:
            The URL of the completion, with those of the parts.

        Raises:
            SigningError: An argument is invalid, or the store rejects the upload.

        Example:
            >>> target = signer.presign_multipart("runs/42.json", max_bytes=50 * 1024**3, expires=timedelta(hours=12))
        """
        with no_fork:
            from callback_sdk.signer.multiparts import PartSizes, common_headers, creation, longer, multipart_urls
            from callback_sdk.signer.uploads import start_upload

        encoded, sizes = encode_key(key), PartSizes.of(part_size, max_bytes)
        self._headers(content_type, acl, metadata, if_none_match)
        arguments = Secret(creation(content_type, acl, metadata, create))
        headers = common_headers(arguments.reveal())
        context = self._context(expires, self._clock())
        lasting = longer(context, self._bucket.credentials.current().expires_at)
        upload_id = start_upload(self._bucket.client(), self._bucket.name, key, arguments.reveal())
        return multipart_urls(
            self._bucket.location,
            encoded,
            upload_id,
            sizes,
            headers,
            context=context,
            lasting=lasting,
            write_once=if_none_match,
        )

    @clearing_locals
    def abort_multipart(self, target: PresignedMultipart) -> None:
        """Abort a multipart upload that will not be used, and discard its parts.

        If the upload was completed or aborted, this does nothing. The object of a completed one stays.

        Args:
            target: From `presign_multipart`.

        Raises:
            SigningError: The target is not one of this bucket, or the store rejects the request.
        """
        with no_fork:
            from callback_sdk.signer.uploads import abort_upload

        if not isinstance(target, PresignedMultipart):
            raise SigningError(
                f"The target is of type {type(target).__name__}.", hint="Give what presign_multipart returned."
            )
        url, place = SecretURL(target.url), SecretURL(self._bucket.location.put_url)
        upload_id = url.secret_query("uploadId")
        if url.origin != place.origin or not url.path.startswith(place.path) or upload_id is None:
            raise SigningError(
                f"{url} is not in the bucket {self._bucket.name!r}.", hint="Use the signer that made the target."
            )
        key = unquote(url.path.removeprefix(place.path))
        abort_upload(self._bucket.client(), self._bucket.name, key, upload_id)

    def _headers(
        self, content_type: str | None, acl: str | None, metadata: Mapping[str, str] | None, if_none_match: bool
    ) -> dict[str, str]:
        headers = put_headers(content_type, acl, metadata, if_none_match)
        if headers:
            check_headers(SecretURL(self._bucket.location.put_url), headers)
        if "if-none-match" in headers:
            self._bucket.check_support("if-none-match")
        return headers

    def _form_url(self) -> SecretURL:
        url = self._bucket.location.post_url
        if url is None:
            raise SigningError("An access point has no POST.", hint="Presign a PUT, or give the bucket's own name.")
        self._bucket.check_support("form")
        return SecretURL(url)

    def _puts(self, headers: Mapping[str, str], expires: Duration, now: float) -> Callable[[str], PresignedPut]:
        return put_urls(self._bucket.location, headers, self._context(expires, now))

    def _posts(
        self, fields: Mapping[str, str], conditions: list[Any], expires: Duration, now: float
    ) -> Callable[[str], PresignedPost]:
        context = self._context(expires, now)
        return post_forms(self._form_url().reveal(), self._bucket.name, fields, conditions, context)

    def _context(self, expires: Duration, now: float) -> SigningContext:
        place, time = self._bucket.location, utc(now)
        duration = check_lifetime(expires)
        credentials = self._bucket.credentials.valid_until(time + duration)
        wanted = (credentials.access_key, f"{time:%Y%m%d}")
        known, key = self._last_key
        if known != wanted:
            key = day_key(wanted[1], place, credentials)
            self._last_key = (wanted, key)
        return SigningContext.at(time, lifetime(duration, time, credentials), place, credentials, key)

    def _each(
        self, keys: Iterable[str], check: Callable[[str], str], signing: Callable[[float], Callable[[str], T]]
    ) -> Iterator[T]:
        """Sign keys one by one; the shared parts of their signatures are computed once per second."""
        if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
            raise SigningError(
                f"The keys are of type {type(keys).__name__}, not a list.",
                hint="Give a list of keys, or call presign_put or presign_post.",
            )
        clock = self._clock
        second = int(clock())
        sign = signing(second)

        def signed(second: int, sign: Callable[[str], T]) -> Iterator[T]:
            for key in keys:
                now = int(clock())
                if now != second:
                    second, sign = now, signing(now)
                yield sign(check(key))

        return signed(second, sign)
