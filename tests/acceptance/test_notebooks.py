"""The tutorials run without errors, and are committed without outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pytest

from callback_sdk.testing import SeaweedFS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# No folder to look for kernels in: what is left is the kernel of the interpreter that runs this.
EXECUTE = textwrap.dedent("""
    import sys
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class Manager(AsyncKernelManager):
        def __init__(self, **options):
            super().__init__(**options, kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))

    source, target, folder = sys.argv[1:]
    notebook = nbformat.read(source, as_version=4)
    resources = {"metadata": {"path": folder}}
    NotebookClient(notebook, kernel_manager_class=Manager, timeout=120, resources=resources).execute()
    nbformat.write(notebook, target)
""")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_through(path: Path, tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    """Every cell runs without an error, in the interpreter of the tests, and leaves nothing behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables = {"TMPDIR": temporary, "PYTHONPATH": ROOT}
    variables |= {"IPYTHONDIR": tmp_path / "ipython", "JUPYTER_RUNTIME_DIR": tmp_path / "runtime"}
    run = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(path), str(tmp_path / path.name), str(tmp_path)],
        env=os.environ | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    notebook = nbformat.read(tmp_path / path.name, as_version=4)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert list(temporary.iterdir()) == []
    shown = json.dumps([cell.get("outputs") for cell in notebook.cells])
    assert not re.search(r"Signature=[0-9a-f]|x-amz-signature.{1,9}[0-9a-f]{64}", shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    """Outputs of a run and metadata of the machine are not committed."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}


def test_there_are_notebooks() -> None:
    """The tests above have something to run."""
    assert [path.stem for path in NOTEBOOKS] == [
        "aistore",
        "batch",
        "output_files",
        "own_algorithm",
        "presigned_urls",
        "several_callbacks",
        "webhooks",
    ]
