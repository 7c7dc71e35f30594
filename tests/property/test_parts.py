"""Any cut of any body gives its bytes back, whatever it is made of."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.documents.body import Body, FilePart, PathPart

CHUNKS = st.lists(st.tuples(st.sampled_from(["bytes", "file", "path"]), st.binary(max_size=40)), max_size=5)


@given(chunks=CHUNKS, size=st.integers(1, 50), inner=st.integers(1, 10))
def test_ranges_of_a_body_are_its_bytes(chunks: list[tuple[str, bytes]], size: int, inner: int) -> None:
    """Bytes, open files from their position, paths, and ranges of ranges."""
    with tempfile.TemporaryDirectory() as folder:
        body, whole = _body(chunks, Path(folder)), b"".join(data for _, data in chunks)
        assert body.read() == whole
        cuts = [body.cut(start, size) for start in range(0, len(whole), size)]
        assert [cut.read() for cut in cuts] == [whole[start : start + size] for start in range(0, len(whole), size)]
        assert sum(cut.size for cut in cuts) == len(whole)
        # Concurrent readers of one file don't disturb one another.
        readers = [cut.chunks() for cut in cuts]
        assert b"".join(b"".join(parts) for parts in readers) == whole
        for cut in cuts:
            again = [cut.cut(start, inner).read() for start in range(0, cut.size, inner)]
            assert b"".join(again) == cut.read()
            assert cut.sha256 == Body(cut.read()).sha256


def _body(chunks: list[tuple[str, bytes]], folder: Path) -> Body:
    parts: list[bytes | FilePart | PathPart] = []
    for number, (kind, data) in enumerate(chunks):
        if kind == "bytes":
            parts.append(data)
        elif kind == "file":
            file = io.BytesIO(b"before" + data)
            file.seek(len(b"before"))
            parts.append(FilePart(file))
        else:
            path = folder / str(number)
            path.write_bytes(data)
            parts.append(PathPart(path))
    return Body(*parts)
