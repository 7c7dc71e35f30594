"""boto3 clients for AIStore, which follow its redirects and send its bearer token.

[AIStore](https://github.com/NVIDIA/aistore) has an S3 API below `/s3`. Its proxy redirects requests for objects to the
node that stores the object, which boto3 doesn't follow. With authentication enabled it requires a bearer token instead
of a signature.

    from callback_sdk import aistore

    s3 = aistore.client("http://aistore:8080", token=aistore.Token("anna", password, "http://authn:52001"))
    s3.upload_file("model.bin", "models", "model.bin")

`import callback_sdk.aistore.patch` lets all S3 clients of the process follow redirects.
"""

from callback_sdk.aistore.clients import client, follow_redirects, use_token
from callback_sdk.aistore.presigned import through
from callback_sdk.aistore.tokens import Token

__all__ = ["Token", "client", "follow_redirects", "through", "use_token"]
