"""callback_sdk.service.access.login_limits"""

from __future__ import annotations

import itertools

import pytest

from callback_sdk.redaction import Secret
from callback_sdk.service.access import login_limits as module
from callback_sdk.service.access.login_limits import LoginLimiter

HOME, BOT = "192.0.2.1", "198.51.100.7"


class Clock:
    """A clock that is advanced by the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


NUMBERS = itertools.count()


def fail(limiter: LoginLimiter, name: str, address: str, password: str | None = None) -> None:
    """Fail with a password, each time another one unless it is given."""
    limiter.record_failure(name, address, Secret(password or f"guess {next(NUMBERS)}"))


def wait(limiter: LoginLimiter, name: str, address: str, password: str = "right") -> float:
    return limiter.wait(name, address, Secret(password))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> LoginLimiter:
    return LoginLimiter(clock)


def test_a_few_failures_cause_no_delay(limiter: LoginLimiter) -> None:
    """A user who mistypes the password can retry at once."""
    for _ in range(4):
        fail(limiter, "anna", HOME)
    assert wait(limiter, "anna", HOME) == 0


def test_the_wait_doubles_up_to_a_limit(limiter: LoginLimiter, clock: Clock) -> None:
    """And it passes."""
    waits = []
    for _ in range(30):
        fail(limiter, "anna", BOT)
        waits.append(wait(limiter, "anna", BOT))
        clock.now += waits[-1]
        assert wait(limiter, "anna", BOT) == 0
    assert waits[:8] == [0, 0, 0, 0, 1, 2, 4, 8]
    assert max(waits) == 900


def test_the_owner_gets_in_from_another_address(limiter: LoginLimiter) -> None:
    """However long the guesser has to wait."""
    for _ in range(100):
        fail(limiter, "anna", BOT)
    assert wait(limiter, "anna", BOT) > 0
    assert wait(limiter, "anna", HOME) == 0


def test_guesses_at_one_account_from_many_addresses_get_one_each(limiter: LoginLimiter) -> None:
    """The owner needs only one attempt; a botnet gets no second round soon."""
    for number in range(40):
        fail(limiter, "anna", f"198.51.100.{number}")
    assert wait(limiter, "anna", "198.51.100.39") > 0
    assert wait(limiter, "anna", HOME) == 0
    assert wait(limiter, "bert", "198.51.100.39") == 0


def test_one_password_at_many_accounts_is_slowed_down(limiter: LoginLimiter) -> None:
    """By the address, for known and unknown accounts."""
    for number in range(20):
        fail(limiter, f"user{number}", BOT)
    assert wait(limiter, "another", BOT) > 0
    assert wait(limiter, "another", HOME) == 0


def test_a_login_does_not_reset_the_count_of_the_address(limiter: LoginLimiter) -> None:
    """A successful login resets only the failures of its own account."""
    for number in range(20):
        fail(limiter, f"user{number}", BOT)
        limiter.record_success("mallory", BOT)
    assert wait(limiter, "anna", BOT) > 0
    assert wait(limiter, "mallory", BOT) == 0
    for _ in range(20):
        fail(limiter, "mallory", BOT)
    assert wait(limiter, "mallory", BOT) > 0
    fail(limiter, "anna", HOME)
    limiter.record_success("anna", HOME)
    assert wait(limiter, "anna", HOME) == 0


def test_failures_are_forgotten(limiter: LoginLimiter, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour, or when there are too many to remember: memory is bounded."""
    for _ in range(10):
        fail(limiter, "anna", BOT)
    clock.now += 3601
    fail(limiter, "anna", BOT)
    assert wait(limiter, "anna", BOT) == 0
    monkeypatch.setattr(module, "_MAX_COUNTS", 10)
    for number in range(100):
        fail(limiter, "x" * 1000 + str(number), f"198.51.100.{number}")
    assert len(limiter._failure_counts) == 10


def test_an_outdated_password_of_a_program_delays_only_itself(limiter: LoginLimiter, clock: Clock) -> None:
    """Other users behind its address and the owner of the account aren't delayed, even for days."""
    for round_ in range(500):
        if not wait(limiter, "job", HOME, "old"):
            fail(limiter, "job", HOME, "old")
        clock.now += 1
        assert wait(limiter, f"user{round_}", HOME) == 0
        assert wait(limiter, "job", HOME, "new") == 0
        clock.now += 599


def test_a_repeated_password_delays_only_itself(limiter: LoginLimiter) -> None:
    """Each check takes memory and a core; another password of the account is checked at once."""
    for _ in range(50):
        fail(limiter, "job", HOME, "old")
    assert wait(limiter, "job", HOME, "old") > 0
    assert wait(limiter, "job", HOME) == 0
    assert wait(limiter, "job", BOT, "old") == 0


def test_typos_behind_one_address_never_add_up(limiter: LoginLimiter, clock: Clock) -> None:
    """Many users behind one address with a typo every two minutes."""
    for number in range(1000):
        fail(limiter, f"user{number}", HOME)
        assert wait(limiter, "another", HOME) == 0
        clock.now += 120


def test_a_guesser_does_not_delay_known_users_of_the_address(limiter: LoginLimiter) -> None:
    """Users that have logged in from the address before; others are delayed like the guesser."""
    limiter.record_success("anna", HOME)
    for number in range(100):
        fail(limiter, f"user{number}", HOME)
    assert wait(limiter, "another", HOME) > 0
    assert wait(limiter, "anna", HOME) == 0


def test_a_guesser_who_waits_keeps_the_others_waiting_for_about_a_minute(limiter: LoginLimiter, clock: Clock) -> None:
    """A client that guesses as fast as permitted delays others briefly, because its failures decay."""
    waits = []
    for number in range(300):
        fail(limiter, f"user{number}", HOME)
        waits.append(wait(limiter, "another", HOME))
        clock.now += waits[-1]
    assert 1 < max(waits[100:]) <= 128


def test_no_password_is_stored(limiter: LoginLimiter) -> None:
    """Only a digest with a key of this process is stored."""
    fail(limiter, "anna", HOME, "marker")
    guess = next(key for key in limiter._failure_counts if key[0] == "guess")
    assert "marker" not in str(limiter._failure_counts)
    assert guess != limiter.__class__()._keys("anna", HOME, Secret("marker"))[0]
