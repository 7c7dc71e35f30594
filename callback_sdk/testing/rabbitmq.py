"""A RabbitMQ server on loopback, in a temporary directory."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
from datetime import timedelta
from pathlib import Path

from callback_sdk.errors import CallbackSDKError
from callback_sdk.testing import supervisor

# Debian's command of this name is a wrapper that changes the user and supports a single server only.
_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_FOLDERS = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


class RabbitMQ(supervisor.SupervisedServer):
    """A local RabbitMQ server with the user `guest`, who has all permissions.

    It has a separate node name, cookie and port mapper (epmd), so it is independent of other RabbitMQ servers on the
    machine. It ends with the block, or with the process that started it, even if that is killed. Confirmed messages in
    quorum queues survive `kill`. A quorum queue itself survives it only half a second after its creation: RabbitMQ 3.10
    saves the name of the queue then, and a server that is killed before restarts with a queue without a leader.

        with RabbitMQ() as server:
            app = Celery(broker=server.url)

    Args:
        timeout: Maximum duration of the start.

    Raises:
        CallbackSDKError: RabbitMQ is not installed.
    """

    _NAME = "RabbitMQ"
    _HINT = "It needs about 150 MB of memory, and free space in the directory for temporary files."
    _PORTS = 3

    def __init__(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        super().__init__(timeout=timeout)
        self._program = _find_program()

    @property
    def url(self) -> str:
        """URL of the virtual host `/`: `amqp://guest:guest@127.0.0.1:PORT//`."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def _launch(self) -> supervisor.SupervisedProcess:
        return supervisor.SupervisedProcess(
            [str(self._program)],
            env=self._environment(),
            folder=self._folder,
            files={
                ".erlang.cookie": secrets.token_hex(20),
                "enabled_plugins": "[].\n",
                "rabbitmq.conf": f"listeners.tcp.1 = 127.0.0.1:{self._ports[0]}\n"
                "disk_free_limit.absolute = 8MB\n"
                "log.console = true\n",
            },
        )

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {
            "HOME": str(folder),
            "PATH": _FOLDERS,
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._ports[1]),
            "RABBITMQ_DIST_PORT": str(self._ports[2]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_NODENAME": f"{folder.name}@localhost",
            # These files don't exist; naming them keeps the settings of the machine out.
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            # "-" is standard output, the log of the supervisor.
            "RABBITMQ_LOGS": "-",
        }

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._ports[0]), timeout=2) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            # The first frame, connection.start, contains the name of the cluster, which is unique to this server.
            return self._folder.name.encode() in client.recv(4096)
        return False


def _find_program() -> Path:
    if _DEBIAN.is_file():
        return _DEBIAN
    found = shutil.which("rabbitmq-server")
    if found is None:
        raise CallbackSDKError("RabbitMQ is not installed.", hint="apt-get install rabbitmq-server")
    return Path(found)
