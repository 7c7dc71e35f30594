"""What a response that is no success means."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from callback_sdk.answer import Answer
from callback_sdk.body import Body
from callback_sdk.callbacks import callbacks
from callback_sdk.limits import MAX_MESSAGE
from callback_sdk.models import Upload
from callback_sdk.refusals import refusal
from callback_sdk.targets import plan
from tests.growth import assert_linear

URL = "https://h.example.org/b/k?AWSAccessKeyId=A&Signature=MARKER7f3a&Expires=4000000000"


def upload(url: str = URL) -> Upload:
    (callback,) = callbacks(url)
    return plan(callback).upload(Body(b"{}"), delivery_id="msg_1", now=datetime.now(timezone.utc))


def answer(body: bytes, to: Upload) -> Answer:
    return Answer(status=403, headers={}, body=body, url=to.url)


def text(message: str, url: str = URL) -> str:
    sent = upload(url)
    return str(refusal(sent, answer(f"<Error><Message>{message}</Message></Error>".encode(), sent)))


def test_message_of_the_store_is_shown_without_credentials() -> None:
    """Quoted values of the query are hidden."""
    assert "No access for ***." in text("No access for MARKER7f3a.")


def test_long_message_is_not_shown() -> None:
    """To cut it could leave the beginning of a credential."""
    assert "MARKER" not in text("x" * (MAX_MESSAGE - 6) + "MARKER7f3a")


def test_message_is_hidden_for_a_url_of_many_values() -> None:
    """To look for each of them would take the product of both lengths."""
    url = URL + "".join(f"&value{number}=secret{number}" for number in range(100))
    assert "secret" not in text("It was secret7.", url)


@pytest.mark.parametrize(
    "piece",
    [
        b"<Code>",
        b"<Code> a ",
        b"<Code>a</Code",
        b"<Message>",
        b"<Message>?",
        b"<Message>a</Message>",
        b"&?",
        b" ",
        b"<",
    ],
)
def test_time_grows_with_the_body_and_not_faster(piece: bytes) -> None:
    """An error document is searched, in one pass."""
    sent = upload()
    small, large = (answer((piece * size)[:size], sent) for size in (4 * 1024, 64 * 1024))
    assert_linear(lambda given: refusal(sent, given), small, large, ratio=16)
