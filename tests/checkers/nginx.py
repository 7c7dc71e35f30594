"""nginx with its WebDAV module on loopback: a server that stores the body of PUT requests with the right token."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define

from callback_sdk.testing.supervisor import free_ports

HOW_TO_GET_IT = "nginx is missing: install nginx, such as Debian's nginx-light."
TOKEN = "runner:topsecret7f3a"

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/t1; fastcgi_temp_path {folder}/t2; uwsgi_temp_path {folder}/t3; scgi_temp_path {folder}/t4;
    map $http_private_token $refused {{ default 1; "{token}" 0; }}
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        client_max_body_size 1m;
        location / {{ if ($refused) {{ return 401; }} dav_methods PUT; }}
        location /moved/ {{ return 307 http://127.0.0.1:{port}/elsewhere.json; }}
    }}
}}
"""


@define(frozen=True)
class Nginx:
    """The server.

    Attributes:
        url: Its URL, without a path.
        files: Directory of the stored files.
    """

    url: str
    files: Path


def find() -> str | None:
    """Return the program, if it is installed with its WebDAV module."""
    command = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if command is None:
        return None
    built = subprocess.run([command, "-V"], capture_output=True, text=True, check=False).stderr
    return command if "http_dav_module" in built else None


@contextmanager
def running(command: str, folder: Path, port: int | None = None) -> Iterator[Nginx]:
    """Run the server on a port; on a free one if it is None."""
    files = folder / "files"
    files.mkdir()
    port = port or free_ports(1)[0]
    settings = folder / "nginx.conf"
    settings.write_text(_CONFIGURATION.format(folder=folder, port=port, token=TOKEN))
    process = subprocess.Popen([command, "-p", str(folder), "-c", str(settings), "-e", str(folder / "error.log")])
    try:
        _wait(port, process)
        yield Nginx(f"http://127.0.0.1:{port}", files)
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError("nginx ended; see its error.log")
