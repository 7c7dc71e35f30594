"""Settings from the environment."""

from __future__ import annotations

import math
import re
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.config import environ_config
from callback_sdk.config.client import ClientConfig
from callback_sdk.config.reader import unknown_variables
from callback_sdk.config.service import ServiceConfig
from callback_sdk.config.storage import StorageConfig, WriterConfig
from callback_sdk.errors import ConfigurationError
from callback_sdk.parsing import parse_bool, parse_duration, parse_size, to_timedelta, total_seconds

TOKEN = "a-token-that-nobody-may-see"
SIGNED = "https://b.s3.eu-central-1.amazonaws.com/k?X-Amz-Signature=0123456789abcdef"


def test_an_empty_environment_gives_the_defaults() -> None:
    """Nothing has to be set."""
    client, service = ClientConfig.from_environ({}), ServiceConfig.from_environ({})
    assert (client.url, client.token, client.callback_url) == (None, None, None)
    assert client.fail_on_error is True
    assert (client.timeout, client.connect_timeout, client.retries) == (
        timedelta(seconds=30),
        timedelta(seconds=5),
        3,
    )
    assert (service.host, service.port, service.data_dir) == ("127.0.0.1", 8000, Path("callback-sdk-data"))
    assert WriterConfig.from_environ({}).webhook_secrets == ()


def test_every_client_variable_is_read() -> None:
    """Each attribute has its variable."""
    config = ClientConfig.from_environ(
        {
            "CALLBACK_SDK_URL": " https://example.org/api/v2 ",
            "CALLBACK_SDK_TOKEN": f"{TOKEN}\n",
            "CALLBACK_SDK_CALLBACK_URL": SIGNED,
            "CALLBACK_SDK_FAIL_ON_ERROR": "off",
            "CALLBACK_SDK_TIMEOUT": "2m",
            "CALLBACK_SDK_CONNECT_TIMEOUT": "500 ms",
            "CALLBACK_SDK_RETRIES": "0",
            "CALLBACK_SDK_STORAGE_ENDPOINTS": "https://a.example, https://b.example",
        }
    )
    assert config.url == "https://example.org/api/v2"
    assert config.token is not None
    assert config.token.reveal() == TOKEN
    assert config.callback_url is not None
    assert config.callback_url.reveal() == SIGNED
    assert config.fail_on_error is False
    assert (config.timeout, config.connect_timeout) == (timedelta(minutes=2), timedelta(milliseconds=500))
    assert config.retries == 0
    assert config.storage_endpoints == ("https://a.example", "https://b.example")


def test_every_service_variable_is_read() -> None:
    """Each option of `serve` has its variable."""
    config = ServiceConfig.from_environ(
        {
            "CALLBACK_SDK_HOST": "0.0.0.0",
            "CALLBACK_SDK_PORT": "0",
            "CALLBACK_SDK_DATA_DIR": "/srv/data",
            "CALLBACK_SDK_PROCESSES": "8",
            "CALLBACK_SDK_MEMORY_LIMIT": "1.5GiB",
            "CALLBACK_SDK_STORAGE_ENDPOINTS": "http://minio:9000",
            "CALLBACK_SDK_ALLOW_NETWORKS": "10.0.0.0/8:9000, fd00::/8 [fd00::5]:*",
            "CALLBACK_SDK_ALLOW_HOSTS": "minio:9000 *.internal",
        }
    )
    assert (config.allow_networks, config.allow_hosts) == (
        ("10.0.0.0/8:9000", "fd00::/8", "[fd00::5/128]:*"),
        ("minio:9000", "*.internal"),
    )
    assert (config.host, config.port, config.data_dir, config.processes) == ("0.0.0.0", 0, Path("/srv/data"), 8)
    assert config.storage_endpoints == ("http://minio:9000",)
    assert config.memory_limit == 1.5 * 1024**3


def test_the_names_of_older_scripts_count() -> None:
    """A script that was written for the AI platform's SDK needs no new variables."""
    variables = {
        "COMPREDICT_AI_CORE_KEY": TOKEN,
        "COMPREDICT_AI_CORE_FAIL_ON_ERROR": "False",
        "BUCKET": "results",
        "REGION": "eu-central-1",
    }
    client, storage = ClientConfig.from_environ(variables), StorageConfig.from_environ(variables)
    assert client.token is not None
    assert client.token.reveal() == TOKEN
    assert client.fail_on_error is False
    assert (storage.bucket, storage.region) == ("results", "eu-central-1")


def test_our_own_name_wins_over_an_older_one() -> None:
    """Where both are set, the variable with our prefix counts."""
    config = StorageConfig.from_environ({"BUCKET": "theirs", "CALLBACK_SDK_BUCKET": "ours"})
    assert config.bucket == "ours"


def test_a_variable_set_to_nothing_is_not_set() -> None:
    """An empty variable neither is a value nor hides the older name."""
    config = StorageConfig.from_environ({"BUCKET": "theirs", "CALLBACK_SDK_BUCKET": " "})
    assert config.bucket == "theirs"
    assert ServiceConfig.from_environ({"CALLBACK_SDK_PORT": ""}).port == 8000


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "yes", "on", "On", "Y", "t", " y "])
def test_every_word_for_yes_is_true(word: str) -> None:
    """Including words that environ-config itself parses as false, such as "on" and "Y"."""
    assert parse_bool(word) is True
    assert ClientConfig.from_environ({"CALLBACK_SDK_FAIL_ON_ERROR": word}).fail_on_error is True


@pytest.mark.parametrize("word", ["0", "false", "False", "no", "off", "N", "f"])
def test_every_word_for_no_is_false(word: str) -> None:
    """Words for no are false."""
    assert ClientConfig.from_environ({"CALLBACK_SDK_FAIL_ON_ERROR": word}).fail_on_error is False


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CALLBACK_SDK_FAIL_ON_ERROR", "maybe"),
        ("COMPREDICT_AI_CORE_FAIL_ON_ERROR", "perhaps"),
        ("CALLBACK_SDK_RETRIES", "three"),
        ("CALLBACK_SDK_RETRIES", "-1"),
        ("CALLBACK_SDK_RETRIES", "1_0"),
        ("CALLBACK_SDK_RETRIES", "1" * 5000),
        ("CALLBACK_SDK_TIMEOUT", "0"),
        ("CALLBACK_SDK_TIMEOUT", "nan"),
        ("CALLBACK_SDK_TIMEOUT", "3 weeks"),
        ("CALLBACK_SDK_TIMEOUT", "9" * 400),
    ],
)
def test_an_invalid_value_names_its_variable_and_the_permitted_values(variable: str, text: str) -> None:
    """The error names the variable that was set."""
    with pytest.raises(ConfigurationError, match=f"environment variable {variable} .* It takes "):
        ClientConfig.from_environ({variable: text})


def test_a_lease_has_room_for_heartbeats() -> None:
    """One that a worker could miss by an ordinary pause would run its tasks twice."""
    with pytest.raises(ConfigurationError, match=r"CALLBACK_SDK_LEASE is '3s'.*4 s or more"):
        ServiceConfig.from_environ({"CALLBACK_SDK_LEASE": "3s"})
    assert ServiceConfig.from_environ({"CALLBACK_SDK_LEASE": "4s"}).lease == timedelta(seconds=4)


@pytest.mark.parametrize(("variable", "text"), [("PORT", "65536"), ("PORT", "8000.0"), ("PROCESSES", "0")])
def test_a_wrong_service_value_names_its_variable(variable: str, text: str) -> None:
    """A bad number does so too."""
    with pytest.raises(ConfigurationError, match=f"CALLBACK_SDK_{variable} is '{text}'.*whole number"):
        ServiceConfig.from_environ({f"CALLBACK_SDK_{variable}": text})


def test_no_credential_is_in_a_repr() -> None:
    """A configuration can be printed."""
    config = ClientConfig.from_environ({"CALLBACK_SDK_TOKEN": TOKEN, "CALLBACK_SDK_CALLBACK_URL": SIGNED})
    secrets = WriterConfig.from_environ({"CALLBACK_SDK_WEBHOOK_SECRETS": f"whsec_{TOKEN} whsec_old"})
    assert len(secrets.webhook_secrets) == 2
    for shown in (repr(config), str(config), repr(secrets)):
        assert TOKEN not in shown
        assert "0123456789abcdef" not in shown


def test_no_credential_is_in_a_traceback_with_locals() -> None:
    """When one variable is wrong, the error doesn't show the others."""
    with pytest.raises(ConfigurationError) as caught:
        ClientConfig.from_environ({"CALLBACK_SDK_TOKEN": TOKEN, "CALLBACK_SDK_RETRIES": "x"})
    frames = caught.value.__traceback__
    assert frames is not None
    error = traceback.TracebackException(ConfigurationError, caught.value, frames.tb_next, capture_locals=True)
    shown = "".join(error.format())
    assert "CALLBACK_SDK_RETRIES" in shown
    assert TOKEN not in shown


def test_a_malformed_callback_url_is_not_shown() -> None:
    """The error for a URL that can't be read leaves it out, as it may be signed."""
    with pytest.raises(ConfigurationError, match="CALLBACK_SDK_CALLBACK_URL can't be read") as caught:
        ClientConfig.from_environ({"CALLBACK_SDK_CALLBACK_URL": f"https://host:port/k?X-Amz-Signature={TOKEN}"})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1.5s", 1.5), ("250ms", 0.25), ("2 min", 120), ("1H", 3600), ("1d", 86400)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    """A duration is a number with its unit."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["90", "1.5", "90 ", "0s", "-1s", "1w", "s", ""])
def test_a_number_without_a_unit_is_not_a_duration(text: str) -> None:
    """90, meant as days, must not delete data after 90 seconds."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (ServiceConfig, "SHUTDOWN_TIMEOUT"),
        (ServiceConfig, "RETENTION"),
        (ServiceConfig, "RETRY_DELAYS"),
        (ClientConfig, "TIMEOUT"),
    ],
)
def test_no_variable_accepts_a_duration_without_a_unit(config: Any, name: str) -> None:
    """The error names the variable and the required form."""
    with pytest.raises(ConfigurationError, match=f"CALLBACK_SDK_{name} is '90'") as caught:
        config.from_environ({f"CALLBACK_SDK_{name}": "90"})
    assert "30d" in str(caught.value.hint) or "5s" in str(caught.value.hint)


def test_a_duration_is_a_timedelta_or_seconds() -> None:
    """Text is rejected, and so is a duration that is not positive or not finite."""
    assert total_seconds("timeout", timedelta(minutes=1)) == total_seconds("timeout", 60) == 60
    assert to_timedelta("timeout", 0.5) == timedelta(milliseconds=500)
    assert to_timedelta("timeout", 0, zero=True) == timedelta(0)
    for value in ("30", None, True):
        with pytest.raises(ConfigurationError, match=r"timeout is of type .*timedelta"):
            total_seconds("timeout", value)  # type: ignore[arg-type]
    for value in (timedelta(0), 0, -1):
        with pytest.raises(ConfigurationError, match="Must be positive"):
            total_seconds("timeout", value)
    for value in (float("inf"), float("nan")):
        with pytest.raises(ConfigurationError, match="finite"):
            total_seconds("timeout", value)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("512 MiB", 512 * 1024**2), ("2GB", 2e9), ("0.5kb", 500), ("1tib", 1024**4), ("none", math.inf)],
)
def test_sizes_have_a_unit(text: str, size: float) -> None:
    """By thousands or by 1024, in either case, or none at all."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["512", "GB", "-1GB", "0GB", "1e9B", "nan GB", "1 XB", "infinite"])
def test_an_invalid_size_is_an_error(text: str) -> None:
    """A number without a unit is an error too, because it is rarely meant as bytes."""
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_size(text)
    with pytest.raises(ConfigurationError, match=r"CALLBACK_SDK_MEMORY_LIMIT.*MiB"):
        ServiceConfig.from_environ({"CALLBACK_SDK_MEMORY_LIMIT": text})


def test_a_user_may_take_any_number_of_bytes() -> None:
    """Where the operator says so."""
    assert ServiceConfig.from_environ({"CALLBACK_SDK_MAX_BYTES": "500GiB"}).max_bytes == 500 * 1024**3
    assert ServiceConfig.from_environ({"CALLBACK_SDK_MAX_BYTES": "none"}).max_bytes == math.inf


@pytest.mark.parametrize("url", ["https://jobs.example.org", "http://[::1]:8000/base/"])
def test_a_public_url_has_no_slash_at_its_end(url: str) -> None:
    """Paths are appended."""
    assert ServiceConfig.from_environ({"CALLBACK_SDK_PUBLIC_URL": url}).public_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["jobs.example.org", "ftp://h", "https://", "https://h:x", "https://h?a=1", "https://u:p@h"]
)
def test_any_other_public_url_is_an_error(url: str) -> None:
    """It is sent to webhooks."""
    with pytest.raises(ConfigurationError, match="CALLBACK_SDK_PUBLIC_URL"):
        ServiceConfig.from_environ({"CALLBACK_SDK_PUBLIC_URL": url})


def test_devices_are_named_as_cuda_names_them() -> None:
    """By numbers or UUIDs, each once."""
    found = ServiceConfig.from_environ({"CALLBACK_SDK_DEVICES": "0, GPU-8932f937,MIG-GPU-8932f937/1/0"}).devices
    assert found == ("0", "GPU-8932f937", "MIG-GPU-8932f937/1/0")
    for wrong in ("0,0", "-1", "0;1", "../x"):
        with pytest.raises(ConfigurationError, match="CALLBACK_SDK_DEVICES"):
            ServiceConfig.from_environ({"CALLBACK_SDK_DEVICES": wrong})


def test_trusted_proxies_may_be_none() -> None:
    """Loopback counts as one unless something is said."""
    assert ServiceConfig.from_environ({}).trusted_proxies == ("127.0.0.1/32", "::1/128")
    assert ServiceConfig.from_environ({"CALLBACK_SDK_TRUSTED_PROXIES": "none"}).trusted_proxies == ()
    assert ServiceConfig.from_environ({"CALLBACK_SDK_TRUSTED_PROXIES": "10.0.0.0/8"}).trusted_proxies == ("10.0.0.0/8",)


def test_a_trusted_proxy_has_no_port() -> None:
    """A port is that of a server; a proxy connects from any."""
    with pytest.raises(ConfigurationError, match="TRUSTED_PROXIES"):
        ServiceConfig.from_environ({"CALLBACK_SDK_TRUSTED_PROXIES": "10.0.0.0/8:9000"})


@pytest.mark.parametrize("path", ["/jobs", "/jobs/", "/tools/jobs-2", "/api/jobs", "/uik"])
def test_root_path_is_a_path(path: str) -> None:
    """A slash at the end is dropped."""
    assert ServiceConfig.from_environ({"CALLBACK_SDK_ROOT_PATH": path}).root_path == path.rstrip("/")


@pytest.mark.parametrize(
    "path",
    [
        "jobs",
        "//jobs",
        "/jobs//x",
        "/ui",
        "/ui/x",
        "/api",
        "/api/v2",
        "/api/v2/x",
        "/..",
        "/a/./b",
        "/a b",
        "/a?b",
        "/é",
        "https://example.org/jobs",
        "/" + 101 * "a",
        11 * "/a",
    ],
)
def test_root_path_is_no_other_text(path: str) -> None:
    """A path of the service itself could not be told from one below such a prefix."""
    with pytest.raises(ConfigurationError, match="ROOT_PATH"):
        ServiceConfig.from_environ({"CALLBACK_SDK_ROOT_PATH": path})


def test_root_path_may_be_the_root() -> None:
    """It is that without a prefix."""
    assert ServiceConfig.from_environ({"CALLBACK_SDK_ROOT_PATH": "/"}).root_path == ""


def test_a_deferred_module_is_the_real_one_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever imports it meanwhile, such as another thread, has its attributes and its submodules."""
    deferred = environ_config._DeferredModule("wsgiref")
    for name in ("wsgiref", "wsgiref.headers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "wsgiref", deferred)
    import wsgiref

    assert wsgiref is deferred
    assert wsgiref.__path__
    assert sys.modules["wsgiref"] is not deferred
    monkeypatch.setitem(sys.modules, "wsgiref", deferred)
    from wsgiref.headers import Headers

    assert Headers.__module__ == "wsgiref.headers"
    assert deferred.headers.Headers is Headers


def test_variables_of_a_kubernetes_service_are_no_settings() -> None:
    """A service named callback-sdk or callback-sdk-metrics sets these in every pod."""
    links = {
        "CALLBACK_SDK_SERVICE_HOST": "10.0.0.1",
        "CALLBACK_SDK_SERVICE_PORT": "8000",
        "CALLBACK_SDK_SERVICE_PORT_HTTP": "8000",
        "CALLBACK_SDK_PORT": "tcp://10.0.0.1:8000",
        "CALLBACK_SDK_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "CALLBACK_SDK_PORT_8000_TCP_ADDR": "10.0.0.1",
        "CALLBACK_SDK_METRICS_PORT": "tcp://10.0.0.2:9000",
    }
    config = ServiceConfig.from_environ(links)
    assert (config.port, config.metrics_port) == (8000, None)
    assert unknown_variables(links) == []
    with pytest.raises(ConfigurationError, match="CALLBACK_SDK_PORT is '8000/tcp'"):
        ServiceConfig.from_environ({"CALLBACK_SDK_PORT": "8000/tcp"})
