"""callback_sdk.service.loading"""

from __future__ import annotations

import gc

import pytest

from callback_sdk.service.loading import garbage_ignored


class Kept:
    """Is tracked by the collector."""


def test_what_is_loaded_is_no_garbage() -> None:
    """Nothing is collected meanwhile, and nothing that was made then is looked at afterwards."""
    with garbage_ignored():
        assert not gc.isenabled()
        kept = Kept()
        assert any(thing is kept for thing in gc.get_objects())
    assert gc.isenabled()
    assert not any(thing is kept for thing in gc.get_objects())


def test_a_failed_import_leaves_the_collector_as_it_was() -> None:
    """Also where somebody has turned it off for good."""
    gc.disable()
    try:
        with pytest.raises(ImportError), garbage_ignored():
            raise ImportError
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ImportError), garbage_ignored():
        raise ImportError
    assert gc.isenabled()
