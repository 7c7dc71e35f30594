"""AIStore as if it were S3: boto3 clients that follow its redirects and carry its token.

[AIStore](https://github.com/NVIDIA/aistore) speaks S3 below `/s3`. Its proxy answers requests for objects with a
redirect to the node that has the object, which boto3 doesn't follow, and with authentication on it takes a bearer
token in place of a signature.

    from callback_sdk import aistore

    s3 = aistore.client("http://aistore:8080", token=aistore.Token("anna", password, "http://authn:52001"))
    s3.upload_file("model.bin", "models", "model.bin")

`import callback_sdk.aistore.patch` does the same for all S3 clients of the process, the token aside.
"""

from callback_sdk.aistore.clients import client, follow_redirects, use_token
from callback_sdk.aistore.presigned import through
from callback_sdk.aistore.tokens import Token

__all__ = ["Token", "client", "follow_redirects", "through", "use_token"]
