"""Forward proxies on loopback: tinyproxy and Squid."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from callback_sdk.testing.supervisor import free_ports

LOGIN = "runner:topsecret7f3a"
"""User and password that tinyproxy requires."""

_PATHS = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"

_TINYPROXY = """
Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
BasicAuth runner topsecret7f3a
LogFile "{folder}/log"
LogLevel Connect
MaxClients 20
Timeout 30
"""

_SQUID = """
http_port 127.0.0.1:{port}
pid_filename none
cache deny all
cache_log {folder}/cache.log
access_log stdio:{folder}/log
coredump_dir {folder}
acl SSL_ports port 443
acl CONNECT method CONNECT
http_access deny CONNECT !SSL_ports
http_access allow all
shutdown_lifetime 0 seconds
"""


def find(name: str) -> str | None:
    """Return the program `tinyproxy` or `squid`, if it is installed."""
    return shutil.which(name, path=_PATHS)


@contextmanager
def running(name: str, command: str, folder: Path, *, ports: str = "") -> Iterator[int]:
    """Run a proxy on a free port, and return the port.

    Args:
        name: `"tinyproxy"` or `"squid"`.
        command: The program.
        folder: An empty directory; the file `log` in it has the requests.
        ports: Ports besides 443 that Squid permits CONNECT to.
    """
    (port,) = free_ports(1)
    # Squid gives up the rights of root.
    folder.chmod(0o777)
    settings = folder / "proxy.conf"
    text = (_TINYPROXY if name == "tinyproxy" else _SQUID).format(port=port, folder=folder)
    settings.write_text(text.replace("port 443", f"port 443 {ports}"))
    options = ["-d", "-c"] if name == "tinyproxy" else ["-N", "-f"]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([command, *options, str(settings)], stdout=output, stderr=output)
    try:
        _wait(folder, port, process)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def own_address() -> str | None:
    """Return an address of this machine that is not loopback; None if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(OSError):
        # It sends nothing.
        sock.connect(("198.51.100.1", 9))
        return str(sock.getsockname()[0])
    return None


def _wait(folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError((folder / "output").read_text())
