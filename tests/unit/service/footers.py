"""Footers of Parquet files as no writer makes them: Thrift's compact protocol, as far as they need it.

The numbers of fields and types are those of parquet.thrift and of Thrift's compact protocol specification.
"""

from __future__ import annotations

_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_INT64, _OPTIONAL = 2, 1


def parquet(footer: bytes) -> bytes:
    """Return a file that has this footer, and no data."""
    return b"PAR1" + footer + b"\0" + (len(footer) + 1).to_bytes(4, "little") + b"PAR1"


def schema(elements: list[bytes], *, children: int | None = None, claimed: int | None = None, rows: int = 1) -> bytes:
    """Begin a footer: version, a root and what is below it, and the number of rows.

    Args:
        elements: All columns and groups.
        children: How many of them are the root's own; all when None.
        claimed: How many the list says that it has; the truth when None.
        rows: Of the whole file.
    """
    root = _field(4, _BINARY, _varint(4) + b"root")
    root += _field(1, _I32, _zigzag(len(elements) if children is None else children)) + b"\0"
    listed = _list(len(elements) + 1 if claimed is None else claimed) + root + b"".join(elements)
    return _field(1, _I32, _zigzag(1)) + _field(1, _LIST, listed) + _field(1, _I64, _zigzag(rows))


def column(*, name: bytes = b"c", kind: int = _INT64, children: int = 0) -> bytes:
    """Return one element of the schema, a group when it has children."""
    head = b"" if children else _field(1, _I32, _zigzag(kind))
    repetition = _field(3 if children else 2, _I32, _zigzag(_OPTIONAL))
    tail = _field(1, _I32, _zigzag(children)) if children else b""
    return head + repetition + _field(1, _BINARY, _varint(len(name)) + name) + tail + b"\0"


def row_group(times: int = 1, *, size: int = 0, rows: int = 1, chunks: int = 0) -> bytes:
    """Go on with the row groups, all alike: so many bytes unpacked, rows, and chunks that say nothing of themselves."""
    chunk = _field(2, _I64, _zigzag(4)) + b"\0"
    one = _field(1, _LIST, _list(chunks) + chunk * chunks)
    one += _field(1, _I64, _zigzag(size)) + _field(1, _I64, _zigzag(rows)) + b"\0"
    return _field(1, _LIST, _list(times) + one * times)


def _field(delta: int, kind: int, value: bytes) -> bytes:
    return bytes([delta << 4 | kind]) + value


def _list(count: int) -> bytes:
    return bytes([0xF0 | _STRUCT]) + _varint(count)


def _zigzag(number: int) -> bytes:
    return _varint(number << 1 if number >= 0 else ~(number << 1))


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])
