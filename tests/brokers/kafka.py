"""A real Apache Kafka for the tests: fetched from Maven Central once, one process a node.

The jars come with one Maven call into `.kafka/`, which git ignores, and stay there. A node is
broker and controller in one (KRaft), keeps its data in a folder of the test's, and listens on free
ports of the loopback address only.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.brokers.metadata import answers
from tests.child import Child, Service, free_port
from tests.eventually import DEADLINE, eventually
from tests.jars import fetch

POM = Path(__file__).with_name("pom.xml")
FOLDER = POM.parents[2] / ".kafka"

START_SECONDS = 2 * DEADLINE
"""A node is ready in 2 s; a machine that starts several at once needs longer."""

JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Serial GC and the quick compiler: a test node does not run long enough for others."""


def missing_programs() -> list[str]:
    """Return the missing programs that an Apache Kafka needs."""
    return [program for program in ("java", "mvn") if shutil.which(program) is None]


def fetch_jars() -> Path:
    """Return the folder of the broker's jars; the first call downloads 43 MB in 5 s."""
    return fetch(POM, FOLDER)


def new_cluster_id() -> str:
    """Return a new id in Kafka's form: 16 bytes in base64url."""
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


class KafkaNode(Service):
    """One node of a cluster, broker and controller, running while the `async with` block runs.

    `voters` gives the controller port of every node by its id, this one's included; without it the
    node is a separate cluster. The nodes of a cluster share `cluster_id`. A node that has ended
    can be started again, with its data and its ports. `properties` are added to those of every
    node.
    """

    def __init__(
        self,
        folder: Path,
        *,
        node_id: int = 1,
        port: int | None = None,
        voters: dict[int, int] | None = None,
        cluster_id: str | None = None,
        auto_create_topics: bool = False,
        properties: Mapping[str, object] | None = None,
        heap_mb: int = 512,
    ) -> None:
        self._folder = folder
        self._node_id = node_id
        self._port = port or free_port()
        self._voters = voters or {node_id: free_port()}
        self._cluster_id = cluster_id or new_cluster_id()
        self._auto_create_topics = auto_create_topics
        self._extra = properties or {}
        self._heap_mb = heap_mb

    @property
    def bootstrap(self) -> str:
        """The `host:port` that clients connect to."""
        return f"127.0.0.1:{self._port}"

    @property
    def data(self) -> Path:
        """The folder with one folder for each partition."""
        return self._folder / "data"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process exists, frozen or not."""
        return self.child is not None and self.child.exit_code is None

    async def start(self) -> None:
        """Start the node and return when it answers requests for metadata."""
        jars = fetch_jars()
        self._folder.mkdir(parents=True, exist_ok=True)
        properties = self._folder / "server.properties"
        if not properties.exists():
            properties.write_text(self._properties())
            await asyncio.to_thread(self._format, jars, properties)
        self.child = Child(
            [*self._java(jars), "kafka.Kafka", str(properties)], self._folder / "output.log"
        )
        try:
            await eventually("Kafka answers", self._is_up, START_SECONDS)
        except BaseException:
            self.end()
            raise

    def move(self, port: int) -> None:
        """Use another port from the next start on; the node must be stopped."""
        properties = self._folder / "server.properties"
        former, self._port = self.bootstrap, port
        properties.write_text(properties.read_text().replace(former, self.bootstrap))

    def kill(self) -> None:
        """Kill the node (SIGKILL) if it runs."""
        if self.child is not None:
            self.child.kill()

    def freeze(self) -> None:
        """Freeze the node (SIGSTOP); its connections stay open."""
        if self.child is not None:
            self.child.freeze()

    def thaw(self) -> None:
        """Continue a frozen node."""
        if self.child is not None:
            self.child.signal(signal.SIGCONT)

    async def _is_up(self) -> bool:
        self.expect_alive()
        return await answers(self.bootstrap)

    def _format(self, jars: Path, properties: Path) -> None:
        subprocess.run(
            [
                *(*self._java(jars), "kafka.tools.StorageTool", "format"),
                f"--cluster-id={self._cluster_id}",  # one may begin with `-`
                *("-c", str(properties), *self._format_options()),
            ],
            check=True,
            timeout=START_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _format_options(self) -> list[str]:
        """Return extra arguments for the storage format."""
        return []

    def _properties(self) -> str:
        replicas = min(3, len(self._voters))
        controller = self._voters[self._node_id]
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in self._voters.items())
        extra = "\n".join(f"{name}={value}" for name, value in self._extra.items())
        return f"""\
process.roles=broker,controller
node.id={self._node_id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{self.bootstrap}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={self.data}
auto.create.topics.enable={str(self._auto_create_topics).lower()}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={min(2, replicas)}
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
{extra}
"""

    def _java(self, jars: Path) -> list[str]:
        heap, level = f"-Xmx{self._heap_mb}m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
        return [*JAVA, heap, level, "-cp", f"{jars}/*"]


def with_listener(name: str, host: str, protocol: str, properties: Mapping[str, object]) -> Second:
    """Return the ports and properties of a node with another listener besides the plain one.

    `properties` are those of the listener, without its prefix.
    """
    port, controller, second = free_port(), free_port(), free_port()
    addresses = f"PLAINTEXT://127.0.0.1:{port},{name.upper()}://{host}:{second}"
    protocols = f"CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,{name.upper()}:{protocol}"
    return Second(
        f"{host}:{second}",
        port,
        {1: controller},
        {
            "listeners": f"{addresses},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": addresses,
            "listener.security.protocol.map": protocols,
            "inter.broker.listener.name": "PLAINTEXT",
            **{f"listener.name.{name}.{key}": value for key, value in properties.items()},
        },
    )


class Second(NamedTuple):
    """The address of a second listener, and arguments of its node."""

    bootstrap: str
    port: int
    voters: dict[int, int]
    properties: dict[str, object]
