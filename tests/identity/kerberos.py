"""A Kerberos realm for the tests: MIT's KDC as an ordinary process, with its own configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

from tests.child import Child, Service, free_port
from tests.eventually import DEADLINE, eventually
from tests.programs import find

REALM = "GATEWAY.TEST"

PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local")

START_SECONDS = DEADLINE


class Realm(Service):
    """A realm whose KDC runs while the `async with` block runs.

    Tickets are good for `ticket_seconds`. The KDC can be ended and started again.
    """

    def __init__(self, folder: Path, ticket_seconds: int) -> None:
        self._folder = folder
        self._port = free_port()
        self._ticket_seconds = ticket_seconds

    @property
    def config(self) -> Path:
        """The `krb5.conf` of the realm's clients and servers."""
        return self._folder / "krb5.conf"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this process, with the realm's configuration."""
        return {
            **os.environ,
            "KRB5_CONFIG": str(self.config),
            "KRB5_KDC_PROFILE": str(self._folder / "kdc.conf"),
        }

    def client(self, keytab: Path) -> dict[str, str]:
        """Return the variables of a process that logs in with a keytab."""
        return {
            "KRB5_CONFIG": str(self.config),
            "KRB5_CLIENT_KTNAME": str(keytab),
            "KRB5CCNAME": "MEMORY:gateway",
        }

    def add(self, principal: str) -> Path:
        """Create a principal with a random key and return a keytab with it."""
        self._admin(f"addprinc -randkey {principal}")
        return self.write_keytab(principal)

    def change_key(self, principal: str) -> None:
        """Give a principal a new key: keytabs written before are invalid."""
        self._admin(f"cpw -randkey {principal}")

    def write_keytab(self, principal: str) -> Path:
        """Return a keytab with the principal's present key."""
        number = len(list(self._folder.glob("*.keytab")))
        keytab = self._folder / f"{number}.keytab"
        self._admin(f"ktadd -norandkey -k {keytab} {principal}")
        return keytab

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write_configuration()
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        return await super().__aenter__()

    async def start(self) -> None:
        """Start the KDC and return when it listens."""
        self.child = Child(
            [find("krb5kdc") or "krb5kdc", "-n", "-P", str(self._folder / "pid")],
            self._folder / "kdc.out",
            self.environment,
        )
        offset = len(self._log())

        async def listens() -> bool:
            self.expect_alive()
            return "commencing operation" in self._log()[offset:]

        await eventually("the KDC listens", listens, START_SECONDS)

    def tickets(self, principal: str) -> int:
        """Return the number of ticket-granting tickets issued to a principal so far."""
        issued = f", {principal}@{REALM} for krbtgt/"
        return sum(issued in line for line in self._log().splitlines() if "ISSUE" in line)

    def _log(self) -> str:
        log = self._folder / "kdc.log"
        return log.read_text() if log.exists() else ""

    def _admin(self, command: str) -> None:
        self._run("kadmin.local", "-q", command)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [find(program) or program, *arguments],
            check=True,
            timeout=START_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
        )

    def _write_configuration(self) -> None:
        self.config.write_text(f"""\
[libdefaults]
default_realm = {REALM}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1

[realms]
{REALM} = {{
  kdc = 127.0.0.1:{self._port}
}}
""")
        (self._folder / "kdc.conf").write_text(f"""\
[kdcdefaults]
kdc_listen = 127.0.0.1:{self._port}
kdc_tcp_listen = 127.0.0.1:{self._port}

[realms]
{REALM} = {{
  database_name = {self._folder}/principal
  key_stash_file = {self._folder}/stash
  acl_file = {self._folder}/kadm5.acl
  max_life = {self._ticket_seconds}s
}}

[logging]
kdc = FILE:{self._folder}/kdc.log
""")
