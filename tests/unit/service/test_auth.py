"""callback_sdk.service.auth"""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.auth import ensure_token, is_allowed


def test_a_token_is_made_once(tmp_path: Path) -> None:
    """Many that start at once agree on one token, which its owner alone can read."""
    path = tmp_path / "token"
    with ThreadPoolExecutor(8) as pool:
        tokens = {token.reveal() for token in pool.map(ensure_token, [path] * 16)}
    assert len(tokens) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_token_file_is_an_error(tmp_path: Path) -> None:
    """An empty token would let in whoever sends none."""
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigurationError, match="empty"):
        ensure_token(tmp_path / "token")


def test_only_the_token_opens(tmp_path: Path) -> None:
    """The scheme's case doesn't matter, everything else does."""
    token = ensure_token(tmp_path / "token")
    assert is_allowed(f"bearer {token.reveal()}", token)
    for header in (None, "", "Bearer", "Bearer x", token.reveal(), f"Basic {token.reveal()}", "Bearer \xfc"):
        assert not is_allowed(header, token)
