"""A box: what a container engine does with an image, as far as the kernel does it by itself.

A process in it sees directories of this machine as its own root, all of them read-only; it has
another user's number, no capability, no way to get one, and a network where it is alone. Needs
Linux, root, `unshare`, `setpriv`, `nsenter` and `ip`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SYSTEM = tuple(Path(name) for name in ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"))
"""What every image brings: programs, libraries, certificates."""

PYTHON = Path(sys.base_prefix)


class Box(NamedTuple):
    """A root directory, made of `mounts`: what is seen where. `writable` is for builds."""

    root: Path
    mounts: Mapping[Path, Path]
    writable: bool = False

    def command(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        user: str = "0:0",
        directory: str = "/",
    ) -> list[str]:
        """Return the command that runs `argv` in the box; the process that it starts is `argv`."""
        network = [] if self.writable else ["--net"]
        entered = ["unshare", "--mount", *network, "sh", "-ec", self._script(), "box"]
        return [*entered, *_dropped(argv, environment, user, directory)]

    def _script(self) -> str:
        root = shlex.quote(str(self.root))
        lines = ["mount --make-rprivate /", f"chmod 755 {root}; mount --bind {root} {root}"]
        for inside, outside in sorted(self.mounts.items()):
            target = shlex.quote(f"{self.root}{inside}")
            lines.append(f"mkdir -p {target}; mount --bind {shlex.quote(str(outside))} {target}")
            lines.append(f"mount -o remount,bind,ro {target}")
        lines.append(f"mkdir -p {root}/proc {root}/dev {root}/tmp")
        lines.append(f"mount -t proc -o ro proc {root}/proc; mount --rbind /dev {root}/dev")
        if not self.writable:
            lines += ["ip link set lo up", f"mount -o remount,bind,ro {root}"]
        return "\n".join([*lines, f'exec chroot {root} "$@"'])


def inside(pid: int, argv: Sequence[str], environment: Mapping[str, str], user: str) -> list[str]:
    """Return the command that runs `argv` beside a process in a box, as its user."""
    entered = ["nsenter", "--target", str(pid), "--mount", "--net", "--root", "--wd"]
    return [*entered, *_dropped(argv, environment, user, "/")]


def system() -> dict[Path, Path]:
    """Return the mounts of a base image with this Python, which is where it is here."""
    mounts = {path: path for path in SYSTEM if path.exists()}
    return mounts | ({} if PYTHON.is_relative_to("/usr") else {PYTHON: PYTHON})


def require_boxes() -> None:
    """Skip the test where this machine makes no boxes."""
    programs = ("unshare", "setpriv", "nsenter", "ip", "chroot")
    missing = [program for program in programs if shutil.which(program) is None]
    if sys.platform != "linux" or os.geteuid() != 0 or missing:
        pytest.skip("needs Linux, root, util-linux and iproute2")


def _dropped(
    argv: Sequence[str], environment: Mapping[str, str], user: str, directory: str
) -> list[str]:
    number, group = user.split(":")
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [
        *("setpriv", f"--reuid={number}", f"--regid={group}", "--clear-groups"),
        "--pdeathsig=KILL",  # a change of user has cleared it
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        *("env", "-i", f"--chdir={directory}", *variables, *argv),
    ]
