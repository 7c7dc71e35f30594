"""callback_sdk.service.pages.lists"""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from callback_sdk.service.pages.lists import back_to, link, notice_of, text_of, time_of

REQUEST = Request({"type": "http", "root_path": "/ui", "app_root_path": ""})


def test_empty_filters_are_none() -> None:
    """Forms send them."""
    assert text_of({"host": " "}, "host") is None
    assert text_of({}, "host") is None
    assert text_of({"host": " a "}, "host") == "a"


@pytest.mark.parametrize("text", ["x" * 301, "a\0b"])
def test_filters_are_bounded(text: str) -> None:
    """And without NUL, which PostgreSQL rejects."""
    with pytest.raises(HTTPException) as caught:
        text_of({"host": text}, "host")
    assert caught.value.status_code == 422


@pytest.mark.parametrize("text", ["2030-01-31T23:00", "2030-01-31T23:00:00Z", "2030-02-01T01:00+02:00"])
def test_times_without_a_zone_are_utc(text: str) -> None:
    """As browsers send those of inputs."""
    assert time_of({"since": text}, "since") == datetime(2030, 1, 31, 23, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", ["yesterday", "2030-13-01", "1", "2030-01-31T25:00"])
def test_other_times_are_rejected(text: str) -> None:
    """With the text."""
    with pytest.raises(HTTPException):
        time_of({"since": text}, "since")


def test_links_keep_the_filter() -> None:
    """Escaped, and without empty values."""
    assert link(REQUEST, "/tasks", {"error": "a&b=c", "user": ""}, cursor=None) == "/ui/tasks?error=a%26b%3Dc"
    assert link(REQUEST, "/tasks", {}) == "/ui/tasks"


def test_an_action_leads_back_to_the_filtered_list() -> None:
    """With a notice in place of an earlier one."""
    place = "/ui/tasks?status=failed&notice=canceled-2"
    assert back_to(REQUEST, place, "/tasks", canceled=3, left=0) == "/ui/tasks?status=failed&notice=canceled-3"
    assert back_to(REQUEST, place, "/tasks") == "/ui/tasks?status=failed"


@pytest.mark.parametrize(
    "place", ["", "https://evil.example/ui/", "//evil.example", "/ui/logout", "/ui/\\evil.example", "/api/v2", "/ui/\n"]
)
def test_a_form_leads_to_no_other_site(place: str) -> None:
    """But to the list itself."""
    assert back_to(REQUEST, place, "/tasks", canceled=1) == "/ui/tasks?notice=canceled-1"


def test_a_notice_says_only_what_it_can_say() -> None:
    """A link can't put other words into a page."""
    assert (
        notice_of({"notice": "canceled-3 left-1"})
        == "Canceled tasks: 3. More of them match. Repeat it for the next ones."
    )
    assert notice_of({"notice": "<script>alert(1)</script> call-5550100"}) == ""
    assert notice_of({}) == ""


def test_links_are_below_the_path_of_a_proxy() -> None:
    """As the browser sees it."""
    request = Request({"type": "http", "root_path": "/jobs/ui", "app_root_path": "/jobs"})
    assert link(request, "/tasks", {}) == "/jobs/ui/tasks"
    assert back_to(request, "/ui/tasks", "/tasks") == "/jobs/ui/tasks"
