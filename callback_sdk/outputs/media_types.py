"""Media types by a file's extension. The machine's own tables aren't read: all machines tell the same type."""

from __future__ import annotations

from mimetypes import MimeTypes
from pathlib import PurePosixPath

UNKNOWN = "application/octet-stream"

_MORE = {
    ".arrow": "application/vnd.apache.arrow.file",
    ".arrows": "application/vnd.apache.arrow.stream",
    ".avif": "image/avif",
    ".feather": "application/vnd.apache.arrow.file",
    ".ipynb": "application/x-ipynb+json",
    ".jsonl": "application/x-ndjson",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}
"""Types that not every Python version knows, by their registrations at IANA where there is one."""

_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
"""Types of compressed files by mimetypes' names of encodings: what is in them is not what they are."""

_TYPES = MimeTypes(filenames=())


def media_type(name: str) -> str:
    """Return the media type of a file; `application/octet-stream` for an unknown extension.

    Args:
        name: The file's name.
    """
    known = _MORE.get(PurePosixPath(name).suffix.lower())
    if known is not None:
        return known
    # `guess_type` takes the name for a URL, in which a comma or a semicolon has a meaning.
    guessed, encoding = _TYPES.guess_type(f"file{''.join(PurePosixPath(name).suffixes[-2:])}")
    if encoding is not None:
        return _COMPRESSED.get(encoding, UNKNOWN)
    return guessed or UNKNOWN
