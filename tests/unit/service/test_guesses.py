"""callback_sdk.service.guesses"""

from __future__ import annotations

import pytest

from callback_sdk.service import guesses as module
from callback_sdk.service.guesses import Guesses

HOME, BOT = "192.0.2.1", "198.51.100.7"


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guesses(clock: Clock) -> Guesses:
    return Guesses(clock)


def test_a_few_failures_cost_nothing(guesses: Guesses) -> None:
    """Whoever mistypes a password tries again at once."""
    for _ in range(4):
        guesses.failed("anna", HOME)
    assert guesses.wait("anna", HOME) == 0


def test_the_wait_doubles_up_to_a_limit(guesses: Guesses, clock: Clock) -> None:
    """And it passes."""
    waits = []
    for _ in range(30):
        guesses.failed("anna", BOT)
        waits.append(guesses.wait("anna", BOT))
        clock.now += waits[-1]
        assert guesses.wait("anna", BOT) == 0
    assert waits[:8] == [0, 0, 0, 0, 1, 2, 4, 8]
    assert max(waits) == 900


def test_the_owner_gets_in_from_another_address(guesses: Guesses) -> None:
    """However long the guesser has to wait."""
    for _ in range(100):
        guesses.failed("anna", BOT)
    assert guesses.wait("anna", BOT) > 0
    assert guesses.wait("anna", HOME) == 0


def test_guesses_at_one_account_from_many_addresses_get_one_each(guesses: Guesses) -> None:
    """The owner, who knows the password, needs no more; a botnet gets no further round soon."""
    for number in range(40):
        guesses.failed("anna", f"198.51.100.{number}")
    assert guesses.wait("anna", "198.51.100.39") > 0
    assert guesses.wait("anna", HOME) == 0
    assert guesses.wait("bert", "198.51.100.39") == 0


def test_one_password_at_many_accounts_is_slowed_down(guesses: Guesses) -> None:
    """By the address, whichever account comes next, known or not."""
    for number in range(20):
        guesses.failed(f"user{number}", BOT)
    assert guesses.wait("another", BOT) > 0
    assert guesses.wait("another", HOME) == 0


def test_a_log_in_of_ones_own_forgives_no_guess_at_others(guesses: Guesses) -> None:
    """It forgets the failures at this account only, and not those of the address."""
    for _ in range(20):
        guesses.failed("anna", BOT)
        guesses.succeeded("mallory", BOT)
    assert guesses.wait("anna", BOT) > 0
    assert guesses.wait("mallory", BOT) > 0
    guesses.failed("anna", HOME)
    guesses.succeeded("anna", HOME)
    assert guesses.wait("anna", HOME) == 0


def test_failures_are_forgotten(guesses: Guesses, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour, or when there are too many to remember: memory is bounded."""
    for _ in range(10):
        guesses.failed("anna", BOT)
    clock.now += 3601
    guesses.failed("anna", BOT)
    assert guesses.wait("anna", BOT) == 0
    monkeypatch.setattr(module, "_MOST", 10)
    for number in range(100):
        guesses.failed("x" * 1000 + str(number), f"198.51.100.{number}")
    assert len(guesses._tallies) == 10
