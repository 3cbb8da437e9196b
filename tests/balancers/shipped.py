"""nginx and HAProxy with the files of `deploy/`, on loopback only.

Only what differs from site to site is written here, by replacing it in the files that are shipped:
the workers' addresses, the port, the certificate, the log. The system's own services and their
configurations are not touched.
"""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.child import Child, Service, free_port, is_listening
from tests.eventually import eventually
from tests.http.certificates import Files
from tests.programs import find

DEPLOY = Path(__file__).parents[2] / "deploy"


class Target(Protocol):
    """A worker in a balancer's configuration; it need not run."""

    @property
    def port(self) -> int: ...

    @property
    def ops_port(self) -> int: ...


class Balancer(Service):
    """A load balancer, running while the `async with` block runs."""

    program: str

    def __init__(self, folder: Path, workers: Sequence[Target]) -> None:
        self.folder = folder
        self.port = free_port()
        """The TLS address."""
        self.certificates = Files(folder)
        self._workers = workers

    @property
    def events_url(self) -> str:
        return f"https://localhost:{self.port}/api/v1/events"

    @property
    def client_context(self) -> ssl.SSLContext:
        return self.certificates.client

    @property
    def pid(self) -> int:
        return self.process.pid

    async def start(self) -> None:
        self.child = self._start()

        def listens() -> bool:
            self.expect_alive()
            return is_listening(self.port)

        await eventually(f"{self.program} listens", listens)

    def log(self) -> str:
        """Return the log."""
        return self.process.log()

    def _start(self) -> Child:
        raise NotImplementedError

    def _shipped(self, name: str) -> str:
        """Return a configuration file with these workers instead of the examples."""
        lines = []
        for line in (DEPLOY / self.program / name).read_text().splitlines():
            if line.strip().startswith("server worker-1"):
                lines += [
                    line.replace("worker-1:8080", f"127.0.0.1:{worker.port}")
                    .replace("8081", str(worker.ops_port))
                    .replace("worker-1", f"worker-{number}")
                    for number, worker in enumerate(self._workers, 1)
                ]
            elif not line.strip().startswith("server worker-"):
                lines.append(line)
        return "\n".join([*lines, ""])


class Nginx(Balancer):
    """nginx; it listens without TLS too, on `plain_port`, for thousands of clients."""

    program = "nginx"

    def __init__(self, folder: Path, workers: Sequence[Target]) -> None:
        super().__init__(folder, workers)
        self.plain_port = free_port()

    def _start(self) -> Child:
        home = self.folder
        shutil.copy(DEPLOY / "nginx" / "nginx.conf", home)
        (home / "workers.conf").write_text(self._shipped("workers.conf"))
        site = (DEPLOY / "nginx" / "site.conf").read_text()
        for shipped, ours in (
            ("listen 443 ", f"listen 127.0.0.1:{self.port} "),
            ("/etc/nginx/tls/gateway.pem", str(self.certificates.certfile)),
            ("/etc/nginx/tls/gateway.key", str(self.certificates.keyfile)),
            ("/var/log/nginx/gateway.log", str(home / "access.log")),
        ):
            assert shipped in site
            site = site.replace(shipped, ours)
        plain = f"listen 127.0.0.1:{self.plain_port} backlog=4096;\n"
        (home / "site.conf").write_text(site + plain)
        user = "user root; " if os.geteuid() == 0 else ""
        options = f"daemon off; {user}pid {home / 'pid'};"
        return Child(
            [program("nginx"), "-p", str(home), "-c", "nginx.conf", "-e", "stderr", "-g", options],
            home / "output.log",
        )

    def log(self) -> str:
        return super().log() + (self.folder / "access.log").read_text()


class HAProxy(Balancer):
    """HAProxy."""

    program = "haproxy"

    def _start(self) -> Child:
        home = self.folder
        pem = home / "both.pem"
        both = (self.certificates.certfile, self.certificates.keyfile)
        pem.write_bytes(b"".join(path.read_bytes() for path in both))
        workers = home / "workers.cfg"
        workers.write_text(self._shipped("workers.cfg"))
        shipped = DEPLOY / "haproxy" / "haproxy.cfg"
        return Child(
            [program("haproxy"), "-db", "-f", str(shipped), "-f", str(workers)],
            home / "output.log",
            {**os.environ, "BIND": f"127.0.0.1:{self.port}", "CERTIFICATE": str(pem)},
        )


BALANCERS: tuple[type[Balancer], ...] = (Nginx, HAProxy)


def program(name: str) -> str:
    """Return the path of a program that is installed."""
    path = find(name)
    assert path is not None
    return path
