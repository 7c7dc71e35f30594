"""Encoding of features and parameters as files of a multipart form."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve

from callback_sdk.documents.body import Body, PathPart
from callback_sdk.documents.document import encode
from callback_sdk.documents.multipart import FormFile
from callback_sdk.errors import FeaturesError, InvalidTargetError, ParametersError
from callback_sdk.features.containers import empty
from callback_sdk.features.writing import write_features
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.text.descriptions import type_name

PARQUET = "application/vnd.apache.parquet"
"""Media type of Parquet files, registered at IANA."""

JSON = "application/json"

_MEDIA_TYPES = {"json": JSON, "parquet": PARQUET}

_MAGIC = b"PAR1"
"""The bytes at the start and at the end of a Parquet file (Apache Parquet, "File Format")."""

_PARAMETERS = "Parameters are a dict, or the path of a JSON file."

_SNIFFED = 64 * 1024
_SMALLEST_PARQUET = 12


@contextmanager
def prepare_features(features: Any, *, compression: str | None = None) -> Iterator[FormFile]:
    """Encode features, and release them afterwards.

    Args:
        features: A dict of equally long columns, a dict of scalars (one row), a list of records, a pandas
            DataFrame, an Arrow table or another object with the Arrow stream interface, or the path of a
            Parquet or JSON file. A file is streamed; it must not change until it is sent. docs/features.md describes
            the conversion of all these forms.
        compression: Codec of Parquet that is written here, such as `"zstd"`; snappy if None. Existing files are sent
            unchanged.

    Yields:
        The part `features` of the form: JSON if it represents all values exactly, otherwise Parquet.

    Raises:
        FeaturesError: The features are not a table, are empty, or have a value that can't be encoded.
        MissingExtraError: The table has to be written as Parquet, and pyarrow is not installed.
    """
    if isinstance(features, (str, os.PathLike)):
        yield _from_path(_path(features))
        return
    with write_features(features, compression=compression) as (kind, body):
        yield _part(f"features.{kind}", _MEDIA_TYPES[kind], body)


def parameters_file(parameters: Mapping[str, Any] | str | os.PathLike[str]) -> FormFile:
    """Encode an algorithm's parameters.

    Args:
        parameters: A dict, or the path of a JSON file.

    Returns:
        The part `parameters` of the form.

    Raises:
        EncodingError: The dict can't be represented in JSON; the message names the path of the value.
        ParametersError: The argument is neither a dict nor the path of a JSON file.
    """
    if isinstance(parameters, (str, os.PathLike)):
        return _parameters_from_path(parameters)
    if not isinstance(parameters, Mapping):
        raise ParametersError(f"Parameters of type {type_name(parameters)} can't be sent.", hint=_PARAMETERS)
    data = encode(parameters, path="parameters", only_finite=True).data
    return FormFile(name="parameters", filename="parameters.json", content_type=JSON, body=Body(data))


def _parameters_from_path(given: str | os.PathLike[str]) -> FormFile:
    try:
        file = _from_path(_path(given, what="parameters"), what="parameters")
    except FeaturesError as error:
        raise ParametersError(error.message, hint=f"{error.hint} {_PARAMETERS}") from error.__cause__
    if file.content_type != JSON:
        raise ParametersError("The file of parameters is Parquet.", hint=_PARAMETERS)
    return evolve(file, name="parameters", filename="parameters.json")


def _part(filename: str, content_type: str, body: Body) -> FormFile:
    return FormFile(name="features", filename=filename, content_type=content_type, body=body)


def _path(given: str | os.PathLike[str], *, what: str = "features") -> Path:
    url = Secret(os.fsdecode(given))
    scheme, separator, _ = url.reveal().partition("://")
    if not separator or not scheme.isalnum():
        return Path(url.reveal())
    if scheme.lower() == "file":
        hint = "Give the path without file://."
    else:
        hint = "Download it first, or read it into a table: pandas.read_parquet(url)."
    try:
        shown = SecretURL(url.reveal()).bare
    except InvalidTargetError:
        shown = f"{scheme}://…"
    raise FeaturesError(f"{_shorten(shown)} is a URL, but {what} are read from files.", hint=hint)


def _from_path(path: Path, *, what: str = "features") -> FormFile:
    try:
        if not path.is_file():
            raise _missing_file(path, what)
        part = PathPart(path)
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
            file.seek(max(0, part.size - len(_MAGIC)))
            tail = file.read(len(_MAGIC))
    except (OSError, ValueError) as error:
        if isinstance(error, FeaturesError):
            raise
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        raise FeaturesError(
            f"The file of {what} {_shorten(str(path))} can't be read: {reason}.",
            hint="A string is interpreted as a path. Pass the content of a JSON document as a dict or list.",
        ) from error
    return _sniff(path, part, head, tail)


def _sniff(path: Path, part: PathPart, head: bytes, tail: bytes) -> FormFile:
    """Detect the format of a file by its content, regardless of its name."""
    if not part.size:
        raise empty(f"The file {path} is empty.")
    if head.startswith(_MAGIC):
        if tail != _MAGIC or part.size < _SMALLEST_PARQUET:
            raise FeaturesError(
                f"{path} starts as a Parquet file, but has no Parquet footer: it is truncated or still being written.",
                hint="Close the writer of the file first, or copy the file again.",
            )
        return _part("features.parquet", PARQUET, Body(part))
    if head.lstrip(b" \t\r\n")[:1] in (b"{", b"["):
        return _part("features.json", JSON, Body(part))
    raise FeaturesError(f"{path} is neither Parquet nor JSON.", hint=_advice(head))


def _advice(head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        return "The file is compressed by gzip: decompress it first."
    if head.startswith(b"\xef\xbb\xbf"):
        return "The file starts with a byte order mark: save it as UTF-8 without one (RFC 8259, section 8.1)."
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "The file is encoded in UTF-16: save it as UTF-8."
    if b"\x00" not in head and b"," in head.partition(b"\n")[0]:
        return "If the file is CSV, read it into a table: pandas.read_csv(path)."
    return "Write the file with DataFrame.to_parquet or json.dump."


def _missing_file(path: Path, what: str) -> FeaturesError:
    text = str(path).lstrip()
    if text.startswith(("{", "[")):
        return FeaturesError(
            f"The {what} are a string of JSON, but a string is interpreted as a path.",
            hint="Pass the dict or list: json.loads(text).",
        )
    if path.is_dir():
        return FeaturesError(f"{path} is a directory.", hint=f"Give the path of one file of {what}.")
    if path.exists():
        return FeaturesError(
            f"{path} is not a regular file.", hint="Write the data to a file first, because its length must be known."
        )
    if text.startswith("~"):
        return FeaturesError(
            f"The file {_shorten(text)} doesn't exist: shells expand ~, Python doesn't.",
            hint="Give os.path.expanduser(path).",
        )
    return FeaturesError(
        f"The file of {what} {_shorten(str(path))} doesn't exist; its absolute path is "
        f"{_shorten(str(path.absolute()))}.",
        hint="Check the path and the working directory.",
    )


def _shorten(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
