"""The member `s3_parts` of `callback_param`: the presigned URLs of a multipart upload but that of its completion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define

from callback_sdk.errors import CallbackParamError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.members import PARTS, type_with_article
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.limits import MAX_PARTS, MAX_PARTS_SIZE

_NAMES = ("part_size", "urls", "abort", "head")

_HINT = (
    'Pass the callback_param of S3Signer(bucket).presign_multipart(key, max_bytes=...): {"s3_parts": {"part_size": '
    'BYTES, "urls": [...], "abort": URL, "head": URL}}. The last two are optional.'
)


@define(frozen=True, kw_only=True)
class SignedParts:
    """The presigned URLs of a multipart upload.

    Attributes:
        part_size: Bytes of each part but the last one.
        urls: URLs of the parts (UploadPart), in their order.
        abort: URL that aborts the upload (AbortMultipartUpload); None without one.
        head: URL that tells size and ETag of the object (HeadObject); None without one.
    """

    part_size: int
    urls: tuple[SecretURL, ...]
    abort: SecretURL | None
    head: SecretURL | None

    def plain(self) -> dict[str, Any]:
        """Return the member with every credential in it, to store or to send on purpose."""
        others = {name: url.reveal() for name, url in self._others() if url is not None}
        return {"part_size": self.part_size, "urls": [url.reveal() for url in self.urls], **others}

    def secrets(self) -> Secret[tuple[str, ...]]:
        """Return the credentials in the URLs, each once: they have most of them in common."""
        urls = (*self.urls, *(url for _, url in self._others() if url is not None))
        return Secret(tuple(dict.fromkeys(value for url in urls for value in url.secrets().reveal())))

    def _others(self) -> tuple[tuple[str, SecretURL | None], ...]:
        return ("abort", self.abort), ("head", self.head)


def read_parts(url: SecretURL, param: Secret[Any]) -> SignedParts:
    """Return `s3_parts`.

    Args:
        url: URL of the target, which completes the upload.
        param: Its `callback_param`, a mapping with this member.

    Raises:
        CallbackParamError: It doesn't have the URLs of a multipart upload.
        InvalidTargetError: One of them is malformed.
    """
    given = Secret(param.reveal()[PARTS])
    if (problem := _problem(given)) is not None:
        raise CallbackParamError(f"s3_parts of {url} {problem}.", hint=_HINT, url=str(url))
    return SignedParts(
        part_size=given.reveal()["part_size"],
        urls=tuple(SecretURL(text) for text in given.reveal()["urls"]),
        abort=_optional(Secret(given.reveal().get("abort"))),
        head=_optional(Secret(given.reveal().get("head"))),
    )


def _optional(text: Secret[Any]) -> SecretURL | None:
    return None if text.reveal() is None else SecretURL(text.reveal())


def _problem(given: Secret[Any]) -> str | None:
    """Return what is wrong with the member, as it completes a sentence; None if nothing is."""
    if not isinstance(given.reveal(), Mapping):
        return f"is {type_with_article(given)}, not a dict"
    if unknown := [name for name in given.reveal() if name not in _NAMES]:
        return f"has a member {short_repr(unknown[0])}; it takes {', '.join(_NAMES)}"
    if type(size := given.reveal().get("part_size")) is not int or size < 1:
        return "has no part_size in bytes"
    urls = Secret(given.reveal().get("urls"))
    if not isinstance(urls.reveal(), (list, tuple)) or not urls.reveal():
        return "has no list of urls"
    if len(urls.reveal()) > MAX_PARTS:
        return f"has {len(urls.reveal())} urls; {MAX_PARTS} are allowed"
    if not all(isinstance(text, str) for text in _texts(given)):
        return "has a URL that is not a string"
    length = sum(map(len, _texts(given)))
    return f"has {length} characters in URLs; {MAX_PARTS_SIZE} are allowed" if length > MAX_PARTS_SIZE else None


def _texts(given: Secret[Any]) -> Iterator[Any]:
    yield from given.reveal()["urls"]
    yield from (given.reveal()[name] for name in ("abort", "head") if given.reveal().get(name) is not None)
