"""UCloud UFile (US3): signed URLs, which are for reading. Its S3 endpoints take the URLs of S3, which are other kinds.

Sources: "API signature algorithm", section "Query string request authentication alternative", and "AWS S3 protocol
support" in UCloud's documentation; its SDKs sign URLs for GET and HEAD only.
"""

from __future__ import annotations

from callback_sdk.errors import UnsupportedFeatureError
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.target import Target, TargetSettings


class UFileURL(Target):
    """A signed URL of UFile. None is accepted."""

    kind = "ufile"
    identifiers = Identifiers("ucloudpublickey")

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if "UCloudPublicKey" not in url.query_names():
            return None
        raise UnsupportedFeatureError(
            f"{url} is a signed URL of UCloud UFile, which are documented for reading only.",
            hint="Presign put_object with an S3 client for one of UFile's S3 endpoints, such as "
            "https://s3-cn-bj.ufileos.com.",
            url=str(url),
        )
