"""callback_sdk.service.work.process_state"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

CHANGE = """
import json, os, sys
from callback_sdk.service.work.process_state import ProcessState
from callback_sdk.service.work.random_state import RandomState

random_state = RandomState()
random_state.complete()
state = ProcessState(random_state)
stdout = sys.stdout
exec(sys.argv[1])
failed = state.restore()
print(json.dumps([failed, sys.stdout is stdout, sys.stdout.fileno()]))
"""


def restored(change: str) -> Any:
    """Change the state of a new process, and return what can't be restored, and whether the stream is the same."""
    done = subprocess.run([sys.executable, "-c", CHANGE, change], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def test_streams_stay_the_same_objects() -> None:
    """Modules may refer to them; a stream that is closed is replaced."""
    assert restored("sys.stdout = None") == [[], True, 1]
    assert restored("sys.stdout.close()") == [[], False, 1]
    assert restored("sys.stdout.detach()") == [[], False, 1]


def test_what_can_not_be_restored_is_named() -> None:
    """The process is then replaced."""
    limits = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60)); os.setresuid(65534, 65534, 65534)"
    assert restored(limits)[0] == ["user", "resource limits"]
    removed = "import tempfile; d = tempfile.mkdtemp(); os.chdir(d); state._saved[0] = d; os.chdir('/'); os.rmdir(d)"
    assert restored(removed)[0] == ["working directory"]
