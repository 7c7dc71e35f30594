"""Events that a target subscribes to."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from callback_sdk import S3Signer, check_target
from callback_sdk.errors import CallbackParamError
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback, parse_callbacks, read_stored
from callback_sdk.targets.members import EVENT_NAMES

URL = "https://example.org/done"
ALL = ["started", "progress", "completed"]


def callback(**param: Any) -> Callback:
    (found,) = parse_callbacks(URL, param)
    return found


@pytest.fixture(scope="module")
def signer() -> S3Signer:
    client = boto3.client("s3", region_name="eu-central-1", aws_access_key_id="AK", aws_secret_access_key="SK")
    return S3Signer("bucket", client=client)


def test_target_without_the_member_gets_the_result_only() -> None:
    """Those that know nothing of events."""
    assert callback().events == {"completed"}
    assert callback(events=["completed"]) == callback(events=None) == callback()


def test_subscription_survives_storage_and_is_not_in_the_document() -> None:
    """A stored target subscribes to the same events."""
    found = callback(events=ALL, run=7)
    assert found.param == {"run": 7}
    assert read_stored(Secret(found.plain()), found.stored_events) == found


@pytest.mark.parametrize("given", ["progress", ["started"], [], {"of": "a run"}, None])
def test_member_of_a_target_that_an_earlier_version_stored_is_a_part_of_the_document(given: Any) -> None:
    """Whatever it is: it was accepted, and the document has it; also if the target is stored again."""
    stored = {"url": URL, "param": {"run": 7, "events": given, "webhook": True}}
    found = read_stored(Secret(stored), None)
    assert (found.param, found.events, found.webhook is None) == ({"run": 7, "events": given}, {"completed"}, False)
    assert read_stored(Secret(found.plain()), found.stored_events) == found
    assert found.replaced_by(callback()).param == found.param


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["complete"], "'complete'"),
        (["Started"], "'Started'"),
        ([["started"]], "not an event"),
        ([None], "None"),
        ([], "an empty list"),
        (["started"] * 6, "6 names"),
        ("progress", "a str"),
        ({"started": True}, "a dict"),
        (True, "a bool"),
    ],
)
def test_what_is_not_a_list_of_events_is_rejected(given: Any, problem: str) -> None:
    """Silence instead of events would be noticed when it is too late. The error names the three."""
    with pytest.raises(CallbackParamError) as caught:
        callback(events=given)
    assert problem in str(caught.value)
    assert all(f'"{name}"' in str(caught.value.hint) for name in EVENT_NAMES)


@pytest.mark.parametrize("name", ["event", "Events", "EVENTS", "e_vents"])
def test_misspelled_member_is_rejected(name: str) -> None:
    """It would be a part of the document, and the target would get no events."""
    with pytest.raises(CallbackParamError, match="has a member"):
        callback(**{name: ["progress"]})


def test_other_values_of_a_similar_name_are_a_part_of_the_document() -> None:
    """The name is a common one."""
    given = {"event": {"id": 7}, "Events": ["launch"], "event_type": ["progress"]}
    assert callback(**given).param == given


def test_target_for_one_object_takes_no_events(signer: S3Signer) -> None:
    """An event that arrives after the result would replace it."""
    for target in (signer.presign_put("42.json"), signer.presign_post("42.json")):
        with pytest.raises(CallbackParamError, match="single object") as caught:
            check_target(target, {"events": ["started"]})
        assert "presign_prefix" in str(caught.value.hint)
    with pytest.raises(CallbackParamError, match="single object"):
        check_target(URL, {"http": {"method": "PUT"}, "events": ALL})


def test_events_below_a_prefix_are_objects_of_their_own(signer: S3Signer) -> None:
    """Neither the document nor another event has the same key."""
    target = check_target(signer.presign_prefix("runs/42/"), {"events": ALL})
    keys = [target.of_event(number).object_url("") for number in (3, 1_000_001)]
    place = str(target.object_url(""))
    assert keys == [f"{place}.events/00000003.json", f"{place}.events/01000001.json"]


def test_webhook_takes_events() -> None:
    """Each is a request of its own."""
    target = check_target(URL, {"events": ["progress"]})
    assert target.takes_events()
    assert target.of_event(7) is target


@pytest.mark.parametrize(
    ("events", "taken"),
    [
        (["progress"], []),
        (["progress", "completed"], [True, False]),
        (["succeeded"], [True]),
        (["started", "failed"], [False]),
        (["succeeded", "failed"], [True, False]),
        (None, [True, False]),
    ],
)
def test_result_is_for_the_targets_that_subscribe_to_it(events: Any, taken: list[bool]) -> None:
    """A target may want nothing but failures."""
    assert [success for success in (True, False) if callback(events=events).takes_result(success=success)] == taken


def test_replacement_of_a_target_keeps_its_events() -> None:
    """An issuer knows the place, and not what is sent there."""
    assert callback(events=ALL).replaced_by(callback()).events == set(ALL)
