"""Every command that the program prints runs as printed, against Apache Kafka."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from gateway.config import Settings
from gateway.kafka.client.options import connection_options
from gateway.kafka.diagnosis import describe_command
from tests.brokers.authority import Authority
from tests.brokers.kafka import FOLDER, JAVA, POM
from tests.brokers.metadata import create_topics
from tests.brokers.secure import PASSWORD, USER, Listener, Operation, SecureNode
from tests.child import free_port
from tests.commands.command import gateway
from tests.jars import fetch
from tests.programs import require
from tests.tokens import SECRET

CLASSES = {
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
}
"""What the scripts of Kafka's distribution run."""

_COMMAND = re.compile(r"(?:kafka-[a-z]+\.sh|gateway record) .+")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecureNode]:
    require("java", "mvn")
    folder = tmp_path_factory.mktemp("secure")
    async with SecureNode(folder / "node", Authority(folder)) as running:
        yield running


async def run(line: str, folder: Path, settings: dict[str, str]) -> str:
    """Run a printed line in `folder`, as a shell would, and return its output; it must succeed."""
    program, *words = shlex.split(line)
    if program == "gateway":
        command = ["bash", "-c", line]
    else:
        jars = await asyncio.to_thread(
            fetch, POM.with_name("tools-pom.xml"), FOLDER.with_name(".kafka-tools")
        )
        path = os.pathsep.join([f"{jars}/*", f"{FOLDER}/libs/*"])
        command = [*JAVA, "-cp", path, CLASSES[program], *words]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **{f"GATEWAY_{name.upper()}": value for name, value in settings.items()},
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, f"{line}\n{out.decode()}"
    return out.decode()


def printed(out: str) -> list[str]:
    """Return the commands in the output of `gateway check`."""
    return [found[0] for line in out.splitlines() if (found := _COMMAND.search(line))]


async def write_login(folder: Path) -> None:
    """Write the file that printed commands name: the login of an administrator."""
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{USER}"'
    await asyncio.to_thread(
        (folder / "admin.properties").write_text,
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        f'sasl.jaas.config={login} password="{PASSWORD}";\n',
    )


async def test_commands_of_check_repair_what_it_found(node: SecureNode, tmp_path: Path) -> None:
    """Missing topics, rights, retention and compaction; each command ends its own finding."""
    await create_topics(
        node.bootstrap,
        [
            NewTopic("users", 2, 1, topic_configs={"retention.ms": "60000"}),
            NewTopic("everybody", 1, 1, topic_configs={"cleanup.policy": "compact"}),
            NewTopic("revoked", 1, 1),
            NewTopic("hidden", 1, 1),
        ],
    )
    await node.allow("hidden", f"User:{USER}", Operation.DESCRIBE)
    async with AIOKafkaProducer(bootstrap_servers=node.bootstrap) as producer:
        await producer.send_and_wait("users", b"{}", key=b"alice", partition=0)
    settings = {
        "kafka_bootstrap": node.address(Listener.PLAIN),
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
        "topic": "users",
        "broadcast_topic": "everybody",
        "revocations_topic": "revoked",
        "workers_topic": "hidden",
        "jwt_secret": SECRET,
        "listen": f"127.0.0.1:{free_port()}",
        "ops_listen": f"127.0.0.1:{free_port()}",
    }
    await write_login(tmp_path)
    lines = printed((await gateway("check", settings=settings)).out)
    programs = [line.split()[0] for line in lines]
    assert programs.count("kafka-configs.sh") >= 3
    assert {"kafka-acls.sh", "gateway"} <= set(programs)
    for line in lines:
        await run(line, tmp_path, settings)

    left = printed((await gateway("check", settings=settings)).out)

    assert [line for line in left if not line.startswith("gateway record")] == []


async def test_commands_that_create_and_describe_topics(node: SecureNode, tmp_path: Path) -> None:
    settings = {
        "kafka_bootstrap": node.bootstrap,
        "jwt_secret": SECRET,
        **{f"{name}_topic": f"new-{name}" for name in ("broadcast", "revocations", "workers")},
        "topic": "new-users",
    }
    lines = printed((await gateway("check", settings=settings)).out)
    assert len(lines) == 4
    for line in lines:
        await run(line, tmp_path, settings)
    left = await gateway("check", settings=settings)
    assert "missing" not in left.out

    options = connection_options(Settings(kafka_bootstrap=node.bootstrap))
    out = await run(describe_command("new-users", options), tmp_path, settings)
    assert out.count("Leader: 1") == 12


async def test_commands_of_the_producer_guide(node: SecureNode, tmp_path: Path) -> None:
    """Each line of the shell blocks that writes, revokes or plans."""
    settings = {
        "kafka_bootstrap": node.bootstrap,
        "jwt_secret": SECRET,
        **{f"{name}_topic": f"guide-{name}" for name in ("broadcast", "revocations", "workers")},
        "topic": "guide-users",
    }
    for line in printed((await gateway("check", settings=settings)).out):
        await run(line, tmp_path, settings)
    events = tmp_path / "events.jsonl"
    await asyncio.to_thread(
        events.write_text, '{"user_id": "alice", "event_type": "import.started"}\n'
    )
    root = Path(__file__).parents[2]
    names = ("docs/producers.md", "docs/capacity.md", "README.md", "docs/tutorial.md")
    texts = [await asyncio.to_thread((root / name).read_text) for name in names]
    lines = {
        line.partition("  #")[0]
        for text in texts
        for line in re.findall(
            r"^gateway (?:publish|revoke|plan|token)\b[^|\n\\]*$", text, re.MULTILINE
        )
    }
    assert len(lines) >= 8
    for line in sorted(lines):
        await run(line, tmp_path, settings)


async def test_a_topic_without_rights_is_not_reported_as_missing(
    node: SecureNode, tmp_path: Path
) -> None:
    await create_topics(node.bootstrap, [NewTopic("private", 1, 1)])
    await node.allow("private", "User:other", Operation.DESCRIBE)  # a topic without ACLs is open
    settings = {
        "kafka_bootstrap": node.address(Listener.PLAIN),
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
        "topic": "private",
    }
    await write_login(tmp_path)
    for command, right in [
        (["publish", "alice", "import.started"], "Write"),
        (["record", "private", "0", "0"], "Read"),
    ]:
        refused = await gateway(*command, settings=settings)
        assert refused.code == 1
        assert f"no right {right} on topic private; give it with: kafka-acls.sh" in refused.err
        [line] = printed(refused.err)
        await run(line, tmp_path, settings)
        allowed = await gateway(*command, settings=settings)
        assert allowed.code == 0, allowed.err
    beyond = await gateway("record", "private", "0", "99", settings=settings)
    assert beyond.err == "error: no record at offset 99; the log has the offsets 0 to 0\n"
