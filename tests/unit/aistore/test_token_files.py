"""callback_sdk.aistore.token_files"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.aistore import token_files
from callback_sdk.aistore.token_files import TokenFile, parse_token
from callback_sdk.errors import AIStoreLoginError
from callback_sdk.redaction import Secret

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl"
OTHER = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJiZXJ0In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("content", "token"),
    [
        (f'{{"token": "{JWT}"}}\n', JWT),
        ('{"token":"opaque","expires":1}', "opaque"),
        (JWT, JWT),
        (f"\n{JWT}\n", JWT),
        ("", None),
        (" \n", None),
        ('{"token": ""}', None),
        ('{"token": 7}', None),
        ('{"secret": "x"}', None),
        ("[1]", None),
        ("opaque==", "opaque=="),
        ("two words", None),
        ("eyJ", None),
        ("a.b.c", None),
        (JWT[:25], None),
        ("[" * 50_000, None),
        (f'{{"token": "{JWT}"}}{" " * 64 * 1024}', None),
    ],
)
def test_two_formats_are_read(content: str, token: str | None) -> None:
    """That of `ais auth login`, and a token alone; anything else may be the start of one."""
    assert parse_token(content.encode()) == (None if token is None else Secret(token))


def test_no_part_of_a_document_is_a_token() -> None:
    """Wherever the writer was when the file was read."""
    document = f'{{"token": "{JWT}"}}'.encode()
    assert {parse_token(document[:length]) for length in range(len(document))} == {None}
    assert parse_token(b"\xff\xfe") is None


def test_replaced_file_is_read_again(tmp_path: Path) -> None:
    """In place, by a rename, and by a link to another folder as Kubernetes does it."""
    file = tmp_path / "token"
    source = TokenFile(file)
    file.write_text(JWT)
    assert source() == JWT
    file.write_text(f'{{"token": "{OTHER}"}}')
    assert source() == OTHER
    (tmp_path / "new").write_text(JWT)
    (tmp_path / "new").replace(file)
    assert source() == JWT
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder, token in zip(folders, (JWT, OTHER), strict=True):
        folder.mkdir()
        (folder / "token").write_text(token)
    current = tmp_path / "current"
    current.symlink_to(folders[0])
    linked = TokenFile(current / "token")
    assert linked() == JWT
    (tmp_path / "next").symlink_to(folders[1])
    (tmp_path / "next").replace(current)
    assert linked() == OTHER


def test_file_is_read_only_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each use asks for its state alone."""
    file, read = tmp_path / "token", []
    file.write_text(JWT)

    def count(content: bytes) -> Any:
        read.append(content)
        return parse_token(content)

    monkeypatch.setattr(token_files, "parse_token", count)
    source = TokenFile(file)
    assert {source() for _ in range(5)} == {JWT}
    assert len(read) == 1


def test_rejected_token_is_read_again_whatever_the_files_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some volumes keep the time of a file whose contents they replace."""
    monkeypatch.setattr(token_files, "_state", lambda found: (0, 0, 0, 0, 0))
    file = tmp_path / "token"
    file.write_text(JWT)
    source = TokenFile(file)
    assert source() == JWT
    file.write_text(OTHER)
    assert source() == JWT
    source.discard(Secret(OTHER))
    assert source() == JWT
    source.discard(Secret(JWT))
    assert source() == OTHER


@pytest.mark.parametrize("content", ["", '{"token": "eyJhb', None])
def test_incomplete_file_does_not_replace_a_token(tmp_path: Path, content: str | None) -> None:
    """The former one is used until there is another; a file that is away is no different."""
    file = tmp_path / "token"
    file.write_text(JWT)
    source = TokenFile(file)
    source()
    file.unlink() if content is None else file.write_text(content)
    assert source() == JWT
    source.discard(Secret(JWT))
    assert source() == JWT
    file.write_text(OTHER)
    assert source() == OTHER


def test_file_without_a_token_is_an_error_that_says_so(tmp_path: Path) -> None:
    """With its path, and without its content."""
    file = tmp_path / "token"
    with pytest.raises(AIStoreLoginError, match="No such file") as caught:
        TokenFile(file)()
    assert str(file) in str(caught.value)
    file.write_text("a MARKER")
    with pytest.raises(AIStoreLoginError, match="no token in it") as caught:
        TokenFile(file)()
    assert "MARKER" not in str(caught.value)
    with pytest.raises(AIStoreLoginError, match=r"not a regular file|Is a directory"):
        TokenFile(tmp_path)()


def test_named_pipe_does_not_block(tmp_path: Path) -> None:
    """Nobody may ever write to it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AIStoreLoginError, match="not a regular file"):
        TokenFile(tmp_path / "pipe")()
