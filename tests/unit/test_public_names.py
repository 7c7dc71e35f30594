"""Names of `import callback_sdk`, and the cost of the import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import callback_sdk

HEAVY = ("attr", "boto3", "botocore", "environ", "fastapi", "orjson", "pandas", "pyarrow", "requests", "urllib3")


def loaded_by(code: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after running some code."""
    run = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize("name", callback_sdk.__all__)
def test_every_public_name_exists(name: str) -> None:
    """Each name is found when it is first used, and is documented."""
    value = getattr(callback_sdk, name)
    assert isinstance(value, str) or value.__doc__


def test_names_are_listed() -> None:
    """dir() shows the public names and no others."""
    assert dir(callback_sdk) == sorted(callback_sdk.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name raises AttributeError."""
    with pytest.raises(AttributeError, match="Cleint"):
        callback_sdk.Cleint  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    """The package itself costs next to nothing."""
    assert not loaded_by("import callback_sdk") & set(HEAVY)


def test_writer_loads_no_boto3() -> None:
    """A worker that only writes results never needs boto3, and no table library either."""
    loaded = loaded_by("from callback_sdk import JobResult, ResultsWriter; ResultsWriter().close()")
    assert "callback_sdk" in loaded
    assert not loaded & {"boto3", "botocore", "environ", "fastapi", "pandas", "pyarrow", "requests"}


@pytest.mark.parametrize(
    "code",
    [
        "from callback_sdk import Client; Client('http://127.0.0.1:9', token='t').close()",
        "from callback_sdk.config.service import ServiceConfig; ServiceConfig.from_environ({})",
    ],
)
def test_settings_load_no_boto3(code: str) -> None:
    """environ-config, which reads them, would import it for secrets in AWS."""
    loaded = loaded_by(code)
    assert "environ" in loaded
    assert not loaded & {"boto3", "botocore"}


def test_errors_have_one_root() -> None:
    """One except clause catches them all, and the tree in the module's text names each."""
    from callback_sdk import errors

    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(error, errors.CallbackSDKError) for error in found)
    assert [error.__name__ for error in found if error.__name__ not in (errors.__doc__ or "")] == []
