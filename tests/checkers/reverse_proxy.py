"""nginx with TLS as a reverse proxy on loopback, configured as the documentation says."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define

from callback_sdk.testing.supervisor import free_ports

DOCUMENTED = Path(__file__).parents[2] / "docs/deployment.md"

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/proxy.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/b0;
    proxy_temp_path {folder}/b1; fastcgi_temp_path {folder}/b2; uwsgi_temp_path {folder}/b3; scgi_temp_path {folder}/b4;
    {server}
}}
"""


@define(frozen=True)
class ReverseProxy:
    """The proxy.

    Attributes:
        origin: Its URL, without a path.
        authority: The host of the URL, with its port.
        certificate: Path of the certificate that its clients trust.
    """

    origin: str
    authority: str
    certificate: Path


@contextmanager
def running(
    command: str, folder: Path, service: str, certificate: Path, *changes: tuple[str, str]
) -> Iterator[ReverseProxy]:
    """Run the proxy on a free port.

    Args:
        command: The program.
        folder: An empty directory.
        service: Host and port of the service.
        certificate: Path of a PEM file with certificate and key for 127.0.0.1.
        *changes: Texts of the documented configuration, each with another one.
    """
    (port,) = free_ports(1)
    (server,) = re.findall(r"```nginx\n(.+?)```", DOCUMENTED.read_text(), re.DOTALL)
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/tools.example.org.pem", str(certificate)),
        ("/etc/ssl/tools.example.org.key", str(certificate)),
        ("127.0.0.1:8000", service),
        *changes,
    ):
        assert old in server
        server = server.replace(old, new)
    settings = folder / "nginx.conf"
    settings.write_text(_CONFIGURATION.format(folder=folder, server=server))
    process = subprocess.Popen([command, "-p", str(folder), "-c", str(settings), "-e", str(folder / "error.log")])
    try:
        _wait(folder, port, process)
        yield ReverseProxy(f"https://127.0.0.1:{port}", f"127.0.0.1:{port}", certificate)
    finally:
        process.terminate()
        process.wait()


def _wait(folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    import socket

    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError((folder / "error.log").read_text())
