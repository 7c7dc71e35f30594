"""callback_sdk.service.loading"""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from callback_sdk.service.loading import pause_garbage_collection


class Kept:
    """Is tracked by the collector."""


def test_loaded_objects_are_excluded_from_collections() -> None:
    """No collection runs during the load, and later collections skip the loaded objects."""
    with pause_garbage_collection():
        assert not gc.isenabled()
        kept = Kept()
        assert any(thing is kept for thing in gc.get_objects())
    assert gc.isenabled()
    assert not any(thing is kept for thing in gc.get_objects())


def test_a_failed_import_leaves_the_collector_as_it_was() -> None:
    """Even if it was disabled before."""
    gc.disable()
    try:
        with pytest.raises(ImportError), pause_garbage_collection():
            raise ImportError
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ImportError), pause_garbage_collection():
        raise ImportError
    assert gc.isenabled()


def test_import_without_the_extra_names_it() -> None:
    """`from callback_sdk.service import Registry` is the first line of every registry."""
    code = "import sys; sys.modules['psutil'] = None; import callback_sdk.service"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith(
        "psutil is not installed. In a checkout of callback_sdk: pip install '.[service]'"
    )
