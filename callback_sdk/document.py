"""The result document: `{job_id, status, callback_param, success, results}` as UTF-8 JSON.

orjson does the work. What it can't do (integers beyond 64 bits, lone surrogates) and what it doesn't tell (which
value is to blame) goes the slow way through plain Python values.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Any

import orjson
from attrs import define

from callback_sdk.body import Body
from callback_sdk.errors import EncodingError
from callback_sdk.jsonable import dataclass_members, jsonable, member
from callback_sdk.models import JobResult
from callback_sdk.nonfinite import count_nonfinite
from callback_sdk.result_files import file_body, path_body

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS

_NULL = re.compile(b"null")
"""A pattern, because it searches twice as fast as `in`."""


@define(frozen=True)
class Encoded:
    """JSON of one value.

    Attributes:
        data: The JSON.
        nulled: How many NaN and infinite numbers became null in it.
    """

    data: bytes
    nulled: int


def encode(value: Any, *, path: str = "results") -> Encoded:
    """Encode a value as JSON.

    NumPy arrays and scalars, pandas and Arrow tables (as columns), datetimes, UUIDs, Decimals (as strings:
    they stay exact), enums, dataclasses and attrs classes are encoded; NaN and infinities become null.

    Args:
        value: What to encode.
        path: What errors call the value.

    Raises:
        EncodingError: JSON can't hold something in it; the error names the path to it.
    """
    try:
        data = orjson.dumps(value, default=jsonable, option=_OPTIONS)
    except TypeError:
        data = _encode_slowly(value, path)
    return Encoded(data, count_nonfinite(value) if _NULL.search(data) else 0)


def results_body(results: Any, stack: ExitStack) -> tuple[Body, int]:
    """Make the bytes of the member `results`.

    Args:
        results: A value, a `pathlib.Path` or binary file object with JSON in it, or a `Body` that is known to be JSON.
        stack: Keeps what must stay open while the bytes are sent.

    Returns:
        The bytes, and how many numbers in them became null (0 for a file, whose NaN is an error).

    Raises:
        EncodingError: JSON can't hold the value, or the file can't be read or holds no JSON.
    """
    if isinstance(results, Body):
        return results, 0
    if isinstance(results, os.PathLike):
        return path_body(Path(os.fsdecode(results))), 0
    if hasattr(results, "read") and not hasattr(results, "columns"):
        return file_body(results, stack), 0
    encoded = encode(results)
    return Body(encoded.data), encoded.nulled


def document(result: JobResult, param: Any, results: Body) -> Body:
    """Put one target's document around the results.

    Args:
        result: The job's own members.
        param: This target's `callback_param`, without its credentials.
        results: What `results_body` made; `null` is sent instead when the job failed.

    Returns:
        The document. Members are in the order of the wire format; a failed job has `error` after them.

    Raises:
        EncodingError: `callback_param` holds what JSON can't.
    """
    head = (
        b'{"job_id":%b,"status":%b,"callback_param":%b,"success":%b,"results":'
        % (
            encode(result.job_id, path="job_id").data,
            encode(result.status, path="status").data,
            encode(param, path="callback_param").data,
            b"true" if result.success else b"false",
        )
    )  # fmt: skip
    if result.success:
        return Body(head, *results.parts, b"}")
    return Body(head, b'null,"error":%b}' % encode(result.error, path="error").data)


def reference(result: JobResult, param: Any, results_url: str) -> Body:
    """Make the document for a target that is too small for the results: it says where they are.

    Args:
        result: The job's own members.
        param: This target's `callback_param`, without its credentials.
        results_url: Where the whole document is, without a signature.

    Returns:
        The document, with `results_url` in the place of `results`.
    """
    members = {
        "job_id": result.job_id,
        "status": result.status,
        "callback_param": param,
        "success": result.success,
        "results_url": results_url,
    }
    return Body(encode(members, path="the document").data)


def _encode_slowly(value: Any, path: str) -> bytes:
    try:
        plain = _plain(value, path)
        text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise EncodingError(
            f"{path} is nested too deeply, or contains itself.",
            hint="Flatten it before returning it.",
            path=path,
        ) from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate is no UTF-8, but JSON can still escape it.
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any, path: str) -> Any:
    """Turn a value into what the standard library's `json` takes."""
    kind = type(value)
    if value is None or kind in (str, int, bool):
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if isinstance(value, Enum):
        return _plain(value.value, path)
    if isinstance(value, dict):
        return {_key(key, path): _plain(item, member(path, key)) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item, member(path, name)) for name, item in dataclass_members(value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    return _plain_leaf(value, path)


def _plain_leaf(value: Any, path: str) -> Any:
    try:
        return orjson.loads(orjson.dumps(value, option=_OPTIONS))
    except (TypeError, ValueError):
        pass
    if isinstance(value, (str, int, float)):
        return _plain(_base_value(value), path)
    try:
        simpler = jsonable(value)
    except TypeError as error:
        raise EncodingError(
            f"{path} is of type {type(value).__module__}.{type(value).__qualname__}, which JSON can't hold.",
            hint=str(error),
            path=path,
        ) from None
    return _plain(simpler, path)


def _base_value(value: str | int | float) -> str | int | float:
    return next(base(value) for base in (str, int, float) if isinstance(value, base))


def _key(key: Any, path: str) -> str:
    if type(key) is str:
        return key
    try:
        (text,) = orjson.loads(orjson.dumps({key: None}, option=_OPTIONS))
    except (TypeError, ValueError):
        if isinstance(key, (str, int)):
            return str(_base_value(key))
        raise EncodingError(
            f"{path} has a key of type {type(key).__qualname__}, and JSON has only strings.",
            hint="Make the keys strings.",
            path=path,
        ) from None
    return str(text)
