"""callback_sdk.transport.sockets: timeouts of one connection, and the value of Host."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config

from callback_sdk.documents.body import Body
from callback_sdk.redaction import SecretURL
from callback_sdk.transport.driver import BLOCKING, run
from callback_sdk.transport.http import _send_all
from callback_sdk.transport.polling import WRITE, ready
from callback_sdk.transport.sockets import TimedSocket, host_header
from tests.checkers import s3_rules
from tests.checkers.http_store import Request


class SlowLink:
    """A socket that accepts ten bytes and is full then, until it was waited for; it records the limit of each wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.sent = b""
        self._is_full = False

    def send(self, data: memoryview) -> int:
        if self._is_full:
            raise BlockingIOError
        self._is_full = True
        self.sent += bytes(data[:10])
        return len(data[:10])

    async def ready(self, sockets: Sequence[Any], events: int, seconds: float) -> dict[Any, int]:
        """Wait, as a driver does."""
        self.waits.append(seconds)
        self._is_full = False
        return dict.fromkeys(sockets, WRITE)


def timed(sock: Any, *, seconds: float = 3600) -> TimedSocket:
    driver: Any = sock if isinstance(sock, SlowLink) else BLOCKING
    return TimedSocket(sock, time.monotonic() + seconds, timedelta(seconds=30), driver)


def test_the_read_timeout_bounds_each_wait_of_a_large_part() -> None:
    """A part in memory can have any length, and a slow link sends it piece by piece."""
    link = SlowLink()
    assert run(_send_all(timed(link), b"head", Body(b"x" * 96)))
    assert link.sent == b"head" + b"x" * 96
    assert link.waits == [30.0] * 9
    link = SlowLink()
    run(timed(link).sendall(b"y" * 25))
    assert (link.sent, link.waits) == (b"y" * 25, [30.0] * 2)


def test_a_response_is_noticed_while_nothing_can_be_sent() -> None:
    """A server that has responded may no longer read."""
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        assert not run(timed(one).receives_before_send())
        while ready([one], WRITE, 0):
            one.send(b"x" * 65536)
        with pytest.raises(TimeoutError):
            run(timed(one, seconds=0.01).receives_before_send())
        other.sendall(b"y")
        assert run(timed(one).receives_before_send())


def test_nothing_is_sent_after_the_deadline() -> None:
    """It holds for the whole attempt."""
    link = SlowLink()
    with pytest.raises(TimeoutError):
        run(timed(link, seconds=-1).sendall(b"x"))
    assert link.sent == b""


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://store.example.org/k", "store.example.org"),
        ("https://store.example.org:443/k", "store.example.org"),
        ("http://store.example.org:80/k", "store.example.org"),
        ("https://store.example.org:/k", "store.example.org"),
        ("https://STORE.example.org:0443/k", "store.example.org"),
        ("https://store.example.org:80/k", "store.example.org:80"),
        ("http://store.example.org:443/k", "store.example.org:443"),
        ("http://[::1]:80/k", "[::1]"),
        ("http://[::1]:9000/k", "[::1]:9000"),
    ],
)
def test_host_has_no_default_port(url: str, host: str) -> None:
    """Servers that compare it with a signature get what was signed."""
    assert host_header(SecretURL(url)) == host


@pytest.mark.parametrize(
    "endpoint",
    ["https://minio.example.org", "https://minio.example.org:443", "http://minio.example.org:80", "http://minio:9000"],
)
@pytest.mark.parametrize("port", ["", "as signed"])
def test_signature_of_boto3_is_that_of_the_host_that_is_sent(endpoint: str, port: str) -> None:
    """Whether the URL has the default port or not: boto3 leaves it in the URL, and doesn't sign it."""
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secretEXAMPLE",
        config=config,
    )
    text = client.generate_presigned_url("put_object", Params={"Bucket": "b", "Key": "k"})
    if not port:
        text = text.replace(":443/", "/").replace(":80/", "/")
    url = SecretURL(text)
    sent = Request("PUT", url.path, url.reveal().partition("?")[2], {"host": host_header(url)}, b"")
    assert s3_rules.signature_v4(sent, "secretEXAMPLE") == url.query("X-Amz-Signature")
