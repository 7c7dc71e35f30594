"""A RabbitMQ server on loopback, in a temporary folder."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
from datetime import timedelta
from pathlib import Path

from callback_sdk.errors import CallbackSDKError
from callback_sdk.testing import supervisor

# Debian's command of this name is a wrapper that becomes another user and knows one server only.
_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_FOLDERS = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


class RabbitMQ(supervisor.SupervisedServer):
    """A RabbitMQ server of one's own, with the user `guest`, who may do everything.

    It has its own node name, cookie and port mapper (epmd), so it knows nothing of another RabbitMQ on the machine,
    and it is gone when the block ends or when the process that made it does, whatever ends that. A message that was
    confirmed to its sender is in a quorum queue for good, whatever `kill` does, but not the queue itself in its first
    half second: RabbitMQ 3.10 saves its name only then, and has a queue without a leader if it is killed before.

        with RabbitMQ() as server:
            app = Celery(broker=server.url)

    Args:
        timeout: How long it may take until it answers.

    Raises:
        CallbackSDKError: RabbitMQ is not installed.
    """

    _NAME = "RabbitMQ"
    _HINT = "It needs about 150 MB of memory, and free space in the folder for temporary files."
    _PORTS = 3

    def __init__(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        super().__init__(timeout=timeout)
        self._program = _find_program()

    @property
    def url(self) -> str:
        """Its virtual host `/`: `amqp://guest:guest@127.0.0.1:PORT//`."""
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
            # Neither is there: they keep the machine's own settings out.
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            # To the keeper's log.
            "RABBITMQ_LOGS": "-",
        }

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._ports[0]), timeout=2) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            # The first frame, connection.start, tells the cluster's name: no other server has it.
            return self._folder.name.encode() in client.recv(4096)
        return False


def _find_program() -> Path:
    if _DEBIAN.is_file():
        return _DEBIAN
    found = shutil.which("rabbitmq-server")
    if found is None:
        raise CallbackSDKError("RabbitMQ is not installed.", hint="apt-get install rabbitmq-server")
    return Path(found)
