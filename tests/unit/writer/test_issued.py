"""callback_sdk.writer.issued"""

from __future__ import annotations

from callback_sdk.redaction import SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.transport.driver import BLOCKING, run
from callback_sdk.writer.issued import IssuedTargets


def test_a_new_prefix_that_expires_is_replaced_again() -> None:
    """Whoever finds the first one expired gets the newest one, and only one upload asks for it."""
    first, second, third = (Callback(url=SecretURL(f"https://example.org/{number}")) for number in range(3))
    issued = IssuedTargets([first], BLOCKING)
    answers = iter([second, third])

    async def ask() -> Callback:
        return next(answers)

    assert [run(issued.replace(first, ask)) for _ in range(2)] == [second, second]
    assert [run(issued.replace(old, ask)) for old in (second, second, first)] == [third] * 3
    assert all(map(issued.covers, (first, second, third)))


def test_a_file_with_a_prefix_of_its_own_is_not_covered() -> None:
    """Its new target must not become the document's."""
    document, own = (Callback(url=SecretURL(f"https://example.org/{number}")) for number in range(2))
    issued = IssuedTargets([document], BLOCKING)
    assert not issued.covers(own)
    assert not issued.covers(None)
