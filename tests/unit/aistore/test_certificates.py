"""callback_sdk.aistore.certificates"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.aistore.certificates import certificates
from callback_sdk.aistore.environment import Environment
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import SecretURL
from tests.tlsserver import Authority

URL = SecretURL("https://aistore:8080")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Give the files of an authority, a client certificate and its key."""
    authority = Authority(tmp_path)
    certificate, key = authority.client_cert(tmp_path)
    return {"AIS_CLIENT_CA": str(authority.file), "AIS_CRT": str(certificate), "AIS_CRT_KEY": str(key)}


def settings(variables: dict[str, str], verify: Any = None, client_cert: Any = None, url: SecretURL = URL) -> Any:
    found = certificates(url, verify, client_cert, Environment.read(variables))
    return found.verify, found.client_cert


def test_environment_completes_what_is_not_given(files: dict[str, str]) -> None:
    """Authorities and client certificate; without variables the libraries' defaults count."""
    pair = (files["AIS_CRT"], files["AIS_CRT_KEY"])
    assert settings({}) == (None, None)
    assert settings(files) == (files["AIS_CLIENT_CA"], pair)
    assert settings(files, verify=True) == (files["AIS_CLIENT_CA"], pair)
    assert settings({}, verify=True) == (True, None)
    assert settings({}, Path(files["AIS_CLIENT_CA"]), pair) == (files["AIS_CLIENT_CA"], pair)
    assert settings(files | {"AIS_SKIP_VERIFY_CRT": "1"}) == (False, pair)


def test_argument_has_precedence_over_the_opt_out(files: dict[str, str]) -> None:
    """A variable that is left over from a test doesn't disable what the code asks for."""
    skip = {"AIS_SKIP_VERIFY_CRT": "true"}
    assert settings(skip, files["AIS_CLIENT_CA"])[0] == files["AIS_CLIENT_CA"]
    assert settings(skip, True)[0] is True


def test_opt_out_warns_every_time(files: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """By the variable and by the argument; and never without TLS."""
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        settings({"AIS_SKIP_VERIFY_CRT": "1"})
        settings({}, verify=False)
    assert [record.message for record in caplog.records] == [
        "Certificates of https://aistore:8080 are not verified: anybody on the way can read and change everything."
    ] * 4
    caplog.clear()
    settings(files)
    settings({"AIS_SKIP_VERIFY_CRT": "1"}, url=SecretURL("http://aistore:8080"))
    assert caplog.records == []


def test_without_tls_the_environment_is_not_read(tmp_path: Path) -> None:
    """Its files may be those of another machine."""
    away = {"AIS_CLIENT_CA": str(tmp_path / "a"), "AIS_CRT": str(tmp_path / "b"), "AIS_CRT_KEY": str(tmp_path / "c")}
    assert settings(away, url=SecretURL("http://aistore:8080")) == (None, None)


def test_files_that_cannot_be_used_are_rejected_early(files: dict[str, str], tmp_path: Path) -> None:
    """Before any request, with their paths."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    away = tmp_path / "away.pem"
    for variables in ({"AIS_CLIENT_CA": str(away)}, {"AIS_CLIENT_CA": str(empty)}, {"AIS_CLIENT_CA": str(tmp_path)}):
        with pytest.raises(ConfigurationError, match=variables["AIS_CLIENT_CA"]):
            settings(variables)
    with pytest.raises(ConfigurationError, match="away"):
        settings(files | {"AIS_CRT_KEY": str(away)})
    with pytest.raises(ConfigurationError, match="client_cert"):
        settings({}, client_cert=7)
    pair = [files["AIS_CRT"], files["AIS_CRT_KEY"]]
    assert settings({}, client_cert=pair)[1] == tuple(pair)
    with pytest.raises(ConfigurationError, match="more than two values"):
        settings({}, client_cert=(*pair, "MARKER"))
    with pytest.raises(ConfigurationError, match="verify is of type int"):
        settings({}, verify=7)


def test_one_file_may_have_certificate_and_key(files: dict[str, str], tmp_path: Path) -> None:
    """As boto3 and AIStore's SDK accept it."""
    both = tmp_path / "both.pem"
    both.write_bytes(Path(files["AIS_CRT"]).read_bytes() + Path(files["AIS_CRT_KEY"]).read_bytes())
    assert settings({}, client_cert=both)[1] == (str(both), str(both))


def test_encrypted_key_is_rejected_early(tmp_path: Path) -> None:
    """boto3 would ask for its password on the terminal."""
    pair = Authority(tmp_path).client_cert(tmp_path, password="MARKER")
    with pytest.raises(ConfigurationError) as caught:
        settings({}, client_cert=pair)
    assert "MARKER" not in str(caught.value)
