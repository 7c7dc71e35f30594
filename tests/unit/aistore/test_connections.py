"""boto3 clients for AIStore in several processes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.httpsession import URLLib3Session

from callback_sdk import aistore
from callback_sdk.aistore.certificates import Certificates
from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.connections import own_connections, use_certificates
from callback_sdk.aistore.tokens import Token
from callback_sdk.errors import AIStoreLoginError
from callback_sdk.redaction import SecretURL
from tests.forks import Child, in_child
from tests.rawserver import RawServer, answer, read_request
from tests.tlsserver import Authority


def echo(connection: socket.socket, number: int) -> None:
    """Answer each request with its path."""
    while True:
        head, _ = read_request(connection)
        if not head:
            return
        connection.sendall(answer("200 OK", 'ETag: "e"', body=head.split(b" ")[1]))


@pytest.fixture
def server() -> Iterator[RawServer]:
    """Run a store in which objects contain their own paths."""
    with RawServer(echo) as server:
        yield server


def plain(server: RawServer) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="A",
        aws_secret_access_key="B",
        config=boto3.session.Config(s3={"addressing_style": "path"}),
    )


MAKERS = {
    "client": lambda server: aistore.client(server.url, token="token"),
    "follow_redirects": lambda server: aistore.follow_redirects(plain(server)),
    "use_token": lambda server: aistore.use_token(plain(server), "token"),
    "patch": plain,
}


@pytest.mark.parametrize("how", MAKERS)
def test_processes_do_not_share_a_connection(how: str, server: RawServer) -> None:
    """After a fork, parent and children get their own responses."""
    from callback_sdk.aistore import patch

    (patch.patch if how == "patch" else patch.unpatch)()
    s3 = MAKERS[how](server)

    def get(name: str) -> list[bytes]:
        return [s3.get_object(Bucket="b", Key=f"{name}-{number}")["Body"].read()[-7:] for number in range(10)]

    try:
        get("z")
        before = server.connections
        children = [Child(lambda name=name: get(name)) for name in "abc"]
        for name, found in [
            ("p", get("p")),
            *[(name, child.result()) for name, child in zip("abc", children, strict=True)],
        ]:
            assert all(f"{name}-{number}".encode() in body for number, body in enumerate(found))
        assert server.connections == before + 3
    finally:
        patch.unpatch()


@pytest.mark.parametrize("held", ["token", "cluster", "clients", "patch"])
def test_a_lock_held_at_a_fork_does_not_block_the_child(held: str, server: RawServer) -> None:
    """The child can use tokens, cluster maps and clients."""
    from callback_sdk.aistore import clients, patch

    patch.unpatch()
    token, cluster = Token("anna", "password", server.url), Cluster(server.url)
    locks = {"token": token._source._lock, "cluster": cluster._lock, "clients": clients._lock, "patch": patch._lock}
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with locks[held]:
            taken.set()
            release.wait(120)

    def use() -> bool:
        with pytest.raises(AIStoreLoginError):
            token()
        cluster.trust(SecretURL("http://node:1"), None, lambda: (0, b""))
        aistore.follow_redirects(plain(server))
        patch.patch()
        return True

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(120)
    assert in_child(use)
    release.set()
    thread.join()


def test_other_sessions_are_not_changed() -> None:
    """The connections of a session that isn't botocore's are unknown."""
    session = type("Session", (), {})()
    own_connections(session)
    assert in_child(lambda: vars(session)) == {}


def test_certificates_that_cannot_be_read_are_an_error_of_ours(tmp_path: Path) -> None:
    """A file of authorities that is removed is a `AIStoreLoginError`, not an error of requests' own making."""
    authority = Authority(tmp_path)
    token = Token("anna", "password", "https://127.0.0.1:9", verify=authority.file)
    authority.file.unlink()
    with pytest.raises(AIStoreLoginError, match="did not respond"):
        token()


@pytest.mark.parametrize("usual", [True, "/etc/aws.pem", "/etc/requests.pem"])
def test_settings_of_tls_replace_those_for_servers_in_general(
    usual: bool | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default, and what other variables name; connections have the client certificate, and keep the rest."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/aws.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/requests.pem")
    session = URLLib3Session(verify=usual, max_pool_connections=7)
    use_certificates(session, Certificates("/etc/ais.pem", ("/etc/crt.pem", "/etc/key.pem")))
    assert session._verify == "/etc/ais.pem"
    settings = session._manager.connection_pool_kw
    assert (settings["cert_file"], settings["key_file"], settings["maxsize"]) == ("/etc/crt.pem", "/etc/key.pem", 7)
    assert session._manager.pool_classes_by_scheme == session._pool_classes_by_scheme
    use_certificates(session, Certificates(None, None))
    assert session._verify == "/etc/ais.pem"


@pytest.mark.parametrize("own", [False, "/etc/own.pem"])
def test_settings_of_tls_of_a_client_stay(own: bool | str) -> None:
    """What was given to the client is more specific."""
    session = URLLib3Session(verify=own, client_cert=("/etc/own.crt", "/etc/own.key"))
    use_certificates(session, Certificates("/etc/ais.pem", ("/etc/crt.pem", "/etc/key.pem")))
    assert (session._verify, session._cert_file, session._key_file) == (own, "/etc/own.crt", "/etc/own.key")
    assert session._manager.connection_pool_kw["cert_file"] == "/etc/own.crt"


def test_other_sessions_get_no_settings() -> None:
    """The attributes of a session that isn't botocore's are unknown."""
    session = type("Session", (), {})()
    use_certificates(session, Certificates("/etc/ais.pem", None))
    assert vars(session) == {}
