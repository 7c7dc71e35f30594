"""Output: one output file of a job, whose content is known by its digest."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field

from callback_sdk.documents.body import Body, PathPart
from callback_sdk.errors import EncodingError, OutputError
from callback_sdk.outputs.media_types import media_type
from callback_sdk.text.descriptions import short_repr


@define(frozen=True, kw_only=True)
class Output:
    """An output file of a job.

    Attributes:
        name: The name, a relative path with slashes.
        path: Where the file is.
        size: Size in bytes.
        sha256: Hex digest of the content.
        media_type: The media type.
        body: The content. Reading it raises an `EncodingError` if the file was changed.
    """

    name: str
    path: Path
    size: int
    sha256: str
    media_type: str
    body: Body = field(repr=False, eq=False)

    @classmethod
    def of(cls, name: str, path: Path) -> Output:
        """Return the output of a file, which is read once for its digest.

        Args:
            name: The name from `checked_name`.
            path: The file, which must stay as it is until it is delivered.

        Raises:
            OutputError: The file is not a regular file, can't be read, or was changed meanwhile.
        """
        try:
            body = _body(name, path)
        except OutputError as error:
            raise OutputError(error.message, hint=f"{error.hint} {_describe_path(path)}", name=name) from error
        return cls(
            name=name, path=path, size=body.size, sha256=_digest(name, body), media_type=media_type(name), body=body
        )

    @classmethod
    def from_stored(cls, *, name: str, path: Path, size: int, sha256: str, media_type: str) -> Output:
        """Return the output of a file that was stored. It is read when it is sent, after `verify`.

        Args:
            name: The name.
            path: The stored file.
            size: Size when it was stored.
            sha256: Hex digest when it was stored.
            media_type: The media type.

        Raises:
            OutputError: The file can't be read.
        """
        body = _body(name, path)
        return cls(name=name, path=path, size=size, sha256=sha256, media_type=media_type, body=body)

    def verify(self) -> None:
        """Check that the file has the content that it had.

        Raises:
            OutputError: It hasn't, or can't be read.
        """
        if self.body.size != self.size or _digest(self.name, self.body) != self.sha256:
            raise OutputError(
                f"The output file {self.name} has changed since it was stored; nothing was sent.",
                hint="The disk or another program damaged the file. Write the result again.",
                name=self.name,
                retryable=True,
            )

    def entry(self, url: str | None) -> dict[str, Any]:
        """Return what the document has of the file.

        Args:
            url: URL of the file without a signature; None if it is not known, or secret.
        """
        return {"url": url, "size": self.size, "sha256": self.sha256, "media_type": self.media_type}


def _describe_path(path: Path) -> str:
    """Say what was given: a relative path may begin elsewhere than its author thinks."""
    where = ""
    if not path.is_absolute():
        # The working directory may have been removed.
        with suppress(OSError):
            where = f", and the working directory is {Path.cwd()}"
    return f"The path given is {short_repr(str(path))}{where}."


def _body(name: str, path: Path) -> Body:
    try:
        return Body(PathPart(path, f"the output file {name}"))
    except EncodingError as error:
        raise OutputError(error.message, hint=error.hint, name=name, retryable=True) from error


def _digest(name: str, body: Body) -> str:
    try:
        return body.sha256.hex()
    except EncodingError as error:
        raise OutputError(error.message, hint=error.hint, name=name, retryable=True) from error
