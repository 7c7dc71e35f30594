"""The settings of `callback-sdk exec` are declared like all others, though it reads them without their declarations."""

from __future__ import annotations

from callback_sdk.config import settings
from callback_sdk.config.reader import unknown_variables
from callback_sdk.program.arguments import CALLBACKS, CALLBACKS_FILE
from callback_sdk.program.files import RESULTS


def test_its_variables_are_those_of_the_settings() -> None:
    assert (settings.CALLBACKS.variable, settings.CALLBACKS_FILE.variable) == (CALLBACKS, CALLBACKS_FILE)


def test_a_program_that_runs_callback_sdk_gets_no_warning_about_the_variable_for_its_results() -> None:
    assert unknown_variables({RESULTS: "/tmp/results.json"}) == []
    assert len(unknown_variables({f"{RESULTS}_X": "1"})) == 1
