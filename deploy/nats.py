"""One real nats-server with JetStream as a child process."""

import json
import shutil
import socket
import sysconfig
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from deploy.ports import LOOPBACK, free_port
from deploy.processes import Child

PREFERRED_PORT = 4222

CONFIG = """\
server_name: penstock
listen: "{host}:{port}"
max_payload: 8MB
jetstream {{
  store_dir: "{store}"
  max_memory_store: 512MB
  max_file_store: 64GB
}}
"""


class Nats(Child):
    """A nats-server with its JetStream store below `folder`."""

    def __init__(self, folder: Path, preferred_port: int = 0) -> None:
        self.port = free_port(preferred_port)
        self.address = f"nats://{LOOPBACK}:{self.port}"
        self.data = folder / "store"
        self._config = folder / "nats.conf"
        super().__init__("nats", [nats_server(), "-c", str(self._config)], folder / "nats.log")

    def start(self) -> Self:
        """Write the configuration and start the server."""
        self.data.mkdir(parents=True, exist_ok=True)
        self._config.write_text(CONFIG.format(host=LOOPBACK, port=self.port, store=self.data))
        super().start()
        return self

    def ready(self) -> bool:
        """Whether the server greets us and says that JetStream is on."""
        return answers(self.address)


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Whether a nats-server with JetStream is at `url`: it greets each connection with `INFO {...}`."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    try:
        with socket.create_connection((parts.hostname or LOOPBACK, parts.port or PREFERRED_PORT), timeout_s) as peer:
            peer.settimeout(timeout_s)
            greeting = peer.makefile("rb").readline()
    except OSError:
        return False
    return greeting.startswith(b"INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))


def nats_server() -> str:
    """The program installed with our packages, else the one on PATH."""
    own = Path(sysconfig.get_path("scripts"), "nats-server")
    program = str(own) if own.exists() else shutil.which("nats-server")
    if program is None:
        raise RuntimeError("could not find the program nats-server; run `python3 -m deploy setup`")
    return program
