"""Each setting is declared once: options, variables and the configuration agree with the declaration."""

from __future__ import annotations

import inspect
import re
import runpy
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from typer.main import get_command

from callback_sdk.commands.app import app
from callback_sdk.config import settings
from callback_sdk.config.aistore import AIStoreConfig
from callback_sdk.config.client import ClientConfig
from callback_sdk.config.definition import Setting
from callback_sdk.config.reader import unknown_variables
from callback_sdk.config.service import ServiceConfig
from callback_sdk.config.storage import ProgramConfig, StorageConfig, WriterConfig

DECLARED = {setting.attribute: setting for _, setting in inspect.getmembers(settings) if isinstance(setting, Setting)}
CLASSES = (AIStoreConfig, ClientConfig, ProgramConfig, ServiceConfig, StorageConfig, WriterConfig)
ROOT = Path(__file__).parents[2]


def test_every_declared_setting_is_an_attribute_with_its_default() -> None:
    """No declaration is unused, and no attribute lacks one."""
    read = {field.name: field.default for cls in CLASSES for field in attrs.fields(cls)}
    assert read == {name: setting.default for name, setting in DECLARED.items()}


@pytest.mark.parametrize(
    "command", ["serve", "worker", "db upgrade", "users add", "send", "check", "run", "outbox run"]
)
def test_options_of_commands_are_those_of_the_declarations(command: str) -> None:
    """Names, variables and help texts come from the declarations; every option with a variable is declared."""
    found = get_command(app)
    for word in command.split():
        found = found.commands[word]  # type: ignore[attr-defined]
    options = [parameter for parameter in found.params if getattr(parameter, "envvar", None)]
    assert options
    for option in options:
        setting = DECLARED[option.name or ""]
        assert (option.opts, option.envvar) == ([setting.option], setting.variable)
        assert option.help.startswith(setting.help)  # type: ignore[attr-defined]


def test_no_option_has_a_credential_that_the_library_reads_from_the_environment() -> None:
    """Encryption keys and webhook secrets have no option: a command line is visible to other users of the machine."""
    assert DECLARED["encryption_keys"].option is None
    assert DECLARED["webhook_secrets"].option is None


@pytest.mark.checkout
def test_the_tables_of_the_page_are_those_of_the_declarations() -> None:
    """`python docs/settings.py` writes them."""
    page = runpy.run_path(str(ROOT / "docs" / "settings.py"))["page"]()
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page
    for setting in DECLARED.values():
        assert f"| `{setting.variable}` |" in page


_VALUE = r"([0-9.]+) ?(ms|s|seconds|min|minutes|h|hours|d|days)"
_STATED = (
    re.compile(rf"{_VALUE} \(`(?P<name>--[a-z-]+|CALLBACK_SDK_[A-Z_]+)`\)"),
    re.compile(rf"`(?P<name>--[a-z-]+|CALLBACK_SDK_[A-Z_]+)`,? \(?{_VALUE}\b"),
)


@pytest.mark.checkout
def test_durations_in_the_documentation_are_the_defaults() -> None:
    """A number next to the name of a setting, such as 20 s (`--lease`)."""
    by_name = {name: setting for setting in DECLARED.values() for name in (setting.option, setting.variable)}
    found = {}
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for match in (match for stated in _STATED for match in stated.finditer(page.read_text())):
            name, number, unit = match["name"], *(text for text in match.groups() if text != match["name"])
            # Options of single commands, such as those of `exec`, are no settings.
            setting = by_name.get(name)
            if setting is not None and isinstance(setting.default, timedelta):
                found[page.name, name] = (setting.parse(f"{number}{unit.removesuffix('econds')[:3]}"), setting.default)
    assert ("deployment.md", "--lease") in found
    assert {place: pair for place, pair in found.items() if pair[0] != pair[1]} == {}


def test_variable_that_is_no_setting_is_named_with_the_nearest() -> None:
    """It has no effect, and nothing else says so."""
    texts = unknown_variables({"CALLBACK_SDK_TOKENS": "a", "CALLBACK_SDK_X": "1", "CALLBACK_SDK_URL": "u", "PATH": "p"})
    problem = "The environment variable {} is not a setting and has no effect."
    meant = " Did you mean CALLBACK_SDK_TOKEN?"
    assert texts == [problem.format("CALLBACK_SDK_TOKENS") + meant, problem.format("CALLBACK_SDK_X")]
