"""Signed POST policies with their form fields.

Source: "POST Policy" in Amazon's S3 API reference.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from callback_sdk.models import PresignedPost
from callback_sdk.redaction import Secret, SecretFields
from callback_sdk.signer.signing_context import ALGORITHM, SigningContext
from callback_sdk.targets.dialects import FILENAME


def post_forms(
    url: str, bucket: str, fields: Mapping[str, str], conditions: Sequence[Any], context: SigningContext
) -> Callable[[str], PresignedPost]:
    """Return a function that signs a form for a key from `check_form_key`. The function raises no errors.

    Everything that doesn't depend on the key is computed once.

    Args:
        url: URL of the form.
        bucket: The bucket's name.
        fields: The form's fields.
        conditions: Conditions of the policy.
        context: Timestamp, credentials and validity.
    """
    signing = {"x-amz-algorithm": ALGORITHM, "x-amz-credential": context.credential, "x-amz-date": context.stamp}
    if context.token is not None:
        signing["x-amz-security-token"] = context.token.reveal()
    before = json.dumps([*conditions, {"bucket": bucket}])[:-1]
    after = json.dumps([{name: value} for name, value in signing.items()])[1:]
    begun = f'{{"expiration": "{context.expires_at:%Y-%m-%dT%H:%M:%SZ}", "conditions": {before}, '
    ended = f", {after}}}"
    # Placeholders keep key, policy and signature at their positions in the order of the fields.
    form = {**fields, "key": "", **signing, "policy": "", "x-amz-signature": ""}
    place, signature, expires_at = Secret(url), context.signatures(), context.expires_at

    def sign(key: str) -> PresignedPost:
        policy = base64.b64encode(f"{begun}{_condition(key)}{ended}".encode())
        signed = SecretFields(form | {"key": key, "policy": policy.decode(), "x-amz-signature": signature(policy)})
        return PresignedPost(url=place, fields=signed, expires_at=expires_at)

    return sign


def _condition(key: str) -> str:
    if key.endswith(FILENAME):
        return f'["starts-with", "$key", {json.dumps(key.removesuffix(FILENAME))}]'
    return f'{{"key": {json.dumps(key)}}}'
