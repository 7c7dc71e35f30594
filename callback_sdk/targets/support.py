"""Compare what a target needs with what its provider supports."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define

from callback_sdk.errors import UnsupportedFeatureError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.provider_table import Feature, Provider


@define(frozen=True, eq=False, repr=False)
class _Text:
    """Text about a feature.

    Attributes:
        rejected: The problem when the provider rejects the feature; `{url}` and `{provider}` are replaced.
        ignored: The warning when it ignores the feature.
        hint: What to do.
    """

    rejected: str
    ignored: str
    hint: str


_TEXTS: dict[Feature, _Text] = {
    "form": _Text(
        "{url} is at {provider}, which doesn't support POST forms.",
        "{provider} ignores POST policies.",
        "Presign a PUT instead: S3Signer(bucket).presign_put(key), or boto3's generate_presigned_url('put_object').",
    ),
    "signature-v2": _Text(
        "{url} has Signature Version 2, which {provider} doesn't support.",
        "{provider} ignores Signature Version 2.",
        "Use S3Signer, or Config(signature_version='s3v4') in boto3.",
    ),
    "if-none-match": _Text(
        "{url} is signed with If-None-Match, which {provider} doesn't support: it would respond with 501.",
        "{provider} ignores If-None-Match when an object is written: an existing object may be overwritten.",
        "Presign without it, and use a key of its own for each job.",
    ),
    "acl": _Text(
        "{url} is signed with an ACL, which {provider} doesn't support.",
        "{provider} has no ACLs of single objects: the target's ACL has no effect, or is rejected if it isn't the "
        "bucket's own.",
        "Presign without an acl.",
    ),
}


def check_support(url: SecretURL, needs: Iterable[Feature], provider: Provider) -> None:
    """Reject a target that its provider would reject.

    Args:
        url: The target's URL.
        needs: What the target needs.
        provider: Whose URL it is.

    Raises:
        UnsupportedFeatureError: The provider rejects one of the features.
    """
    for feature in sorted(provider.rejects.intersection(needs)):
        raise UnsupportedFeatureError(
            _TEXTS[feature].rejected.format(url=url, provider=provider), hint=_hint(feature, provider), url=str(url)
        )


def support_warnings(needs: Iterable[Feature], provider: Provider) -> tuple[str, ...]:
    """Return a warning for each feature that has no effect at a provider."""
    return tuple(
        f"{_TEXTS[feature].ignored.format(provider=provider)} {_hint(feature, provider)}"
        for feature in sorted(provider.ignores.intersection(needs))
    )


def _hint(feature: Feature, provider: Provider) -> str:
    if feature == "if-none-match" and provider.write_once:
        return f"Sign its own header instead: {provider.write_once}."
    return _TEXTS[feature].hint
