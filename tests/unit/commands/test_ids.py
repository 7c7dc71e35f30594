"""callback_sdk.commands.ids"""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define

from callback_sdk.commands.ids import MAX_CANDIDATES, explaining_short_ids, full_delivery_ids, full_job_id
from callback_sdk.errors import InvalidRequestError, NotFoundError

JOB = "3f2a9c10-5c1e-4d3a-9b1f-0a2b3c4d5e6f"
DELIVERY = "msg_0123456789abcdef0123456789abcdef"


@define
class Summary:
    job_id: str


class Jobs:
    """The part of a client that lists tasks."""

    def __init__(self, *job_ids: str) -> None:
        self.job_ids = job_ids
        self.asked: list[dict[str, Any]] = []

    def get_tasks(self, **asked: Any) -> list[Summary]:
        self.asked.append(asked)
        return [Summary(one) for one in self.job_ids][: asked["limit"]]


@pytest.mark.parametrize("given", ["3f2a", "3F2A", " 3f2a9c10-5c1e", JOB[:-1]])
def test_a_unique_prefix_is_completed(given: str) -> None:
    """From four characters on, in any case; the service is asked for no more than an error would list."""
    client = Jobs(JOB)
    assert full_job_id(client, given) == JOB  # type: ignore[arg-type]
    assert client.asked == [{"id_prefix": given.strip().lower(), "limit": MAX_CANDIDATES + 1}]


@pytest.mark.parametrize("given", [JOB, "3f2", "42", "", "a task", "zzzz", JOB + "0", "3f2a/../x"])
def test_other_texts_are_sent_as_they_are(given: str) -> None:
    """Complete ids cost no request, and the service says what is wrong with the others."""
    client = Jobs(JOB)
    assert full_job_id(client, given) == given  # type: ignore[arg-type]
    assert client.asked == []


def test_an_ambiguous_prefix_lists_the_candidates() -> None:
    """In full, so that one can be copied; not more than ten."""
    ids = [f"3f2a{number:04}-5c1e-4d3a-9b1f-0a2b3c4d5e6f" for number in range(20)]
    with pytest.raises(InvalidRequestError, match="Give more characters") as caught:
        full_job_id(Jobs(*ids), "3f2a")  # type: ignore[arg-type]
    lines = caught.value.message.splitlines()
    assert lines == ["Several ids begin with '3f2a':", *(f"  {one}" for one in ids[:10]), "  …"]


@pytest.mark.parametrize(("given", "is_short"), [("9", True), ("msg_3F2", True), ("3f2a", False), ("a-task", False)])
def test_a_short_text_that_is_not_found_is_explained(given: str, is_short: bool) -> None:
    """It may be the beginning of an id, which would need more characters."""
    with pytest.raises(NotFoundError) as caught, explaining_short_ids(None, given):
        raise NotFoundError("The task doesn't exist.", hint="Check the id.")
    assert ("at least 4 characters" in caught.value.hint) == is_short


def test_an_unknown_prefix_is_not_found() -> None:
    """Also if the service is an older one, which ignores the prefix and lists other tasks."""
    for client in (Jobs(), Jobs("7" + JOB[1:])):
        with pytest.raises(NotFoundError, match="No task has an id that begins with '3f2a'"):
            full_job_id(client, "3f2a")  # type: ignore[arg-type]


def test_deliveries_may_be_abbreviated() -> None:
    """With or without what all their ids begin with. They are listed if needed, and once."""
    other = "msg_9" + DELIVERY[5:]
    asked = []

    def list_ids() -> list[str]:
        asked.append(1)
        return [DELIVERY, other]

    given = ["msg_0123", "9123", "d-1", DELIVERY]
    assert full_delivery_ids(given, list_ids, hint="") == [DELIVERY, other, "d-1", DELIVERY]
    assert full_delivery_ids([DELIVERY, "012"], list_ids, hint="") == [DELIVERY, "012"]
    assert len(asked) == 1


def test_ambiguous_deliveries_are_listed() -> None:
    """Before any of them is changed."""
    other = DELIVERY[:-1] + "0"
    with pytest.raises(InvalidRequestError, match=f"{DELIVERY}\n  {other}"):
        full_delivery_ids(["0123"], lambda: [DELIVERY, other], hint="")
    with pytest.raises(NotFoundError, match=r"No delivery has an id that begins with 'ffff'\. List them"):
        full_delivery_ids(["ffff"], lambda: [DELIVERY, other], hint="List them")
