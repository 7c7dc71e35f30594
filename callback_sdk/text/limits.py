"""Length limits of untrusted input, checked before it is parsed."""

from __future__ import annotations

MAX_URL = 16 * 1024
"""Characters of a URL. Presigned URLs with a session token have about 2,000; servers accept 8 to 16 KiB."""

MAX_PATH = 8 * 1024
"""Characters of a URL's path. An S3 key has at most 1,024 bytes, or 3,072 characters percent-encoded."""

MAX_HOST = 253
"""Characters of a host name (RFC 1035, section 2.3.4, without the lengths of its labels and the final dot)."""

MAX_LABEL = 63
"""Characters of a label of a host name (RFC 1035, section 2.3.4)."""

MAX_FIELDS = 100
"""Fields of a presigned POST."""

MAX_FORM = 64 * 1024
"""Characters of a presigned POST's fields, including names. Amazon S3 accepts 20 KB ("POST Object")."""

MAX_CONDITIONS = 200
"""Conditions of a POST policy: each field needs one, and may have two."""

MAX_HEADERS = 100
"""Headers given with a presigned PUT."""

MAX_HEADERS_SIZE = 16 * 1024
"""Characters of the headers given with a presigned PUT, including names. Amazon S3 accepts 8 KB ("PUT Object")."""

MAX_PARTS = 10_000
"""Parts of a multipart upload ("Amazon S3 multipart upload limits", Amazon S3 User Guide)."""

MAX_PARTS_SIZE = 16 * 1024 * 1024
"""Characters of the URLs of a multipart upload: 10,000 presigned URLs with a session token of usual length."""

MAX_MESSAGE = 4 * 1024
"""Bytes of a server's error message; longer ones are not shown."""

MAX_WEBHOOK_HEADER = 8 * 1024
"""Characters of each header of a webhook to verify."""
