"""A cloud with real guests in a network namespace of the tests' own, and clients beside it in the same one.

The namespace plays the host's network: everything the cloud makes hangs off it, and nothing in it leads anywhere else.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pileus.drivers.image.build import build, default_cache

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
PILEUS = str(Path(sys.executable).with_name("pileus"))
AWS = str(Path(sys.executable).with_name("aws"))


@contextmanager
def own_network() -> Iterator[None]:
    """Puts this thread, and all processes and threads that it starts, into a new network namespace with loopback only."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if _libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        if _libc.setns(before, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(before)


def eventually(ask: Callable[[], T], seconds: float = 60.0, interval: float = 0.2) -> T:
    """The first truthy answer. Fails with the last answer when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(interval)


class Machine:
    """One cloud on one data directory."""

    def __init__(self, root: Path, port: int = 4566) -> None:
        self.root = root
        self.port = port

    def pileus(self, *arguments: str, check: bool = True, home: Path | None = None) -> str:
        """Runs the ``pileus`` command on this cloud and returns what it printed. ``home``: another home directory."""
        argv = [PILEUS, "--data-dir", str(self.root), "--port", str(self.port), *arguments]
        environment = {**os.environ, "HOME": str(home)} if home else None
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300, env=environment)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        """The end of all logs, for a failed assertion."""
        files = sorted((self.root / "logs").glob("*.log")) if self.root.exists() else []
        return "".join(f"\n--- {path.name}\n" + "".join(path.read_text().splitlines(True)[-30:]) for path in files)

    def traces(self, word: str) -> str:
        """What the host knows: lines of the agent's log with ``word``, its last ones, and the links of all namespaces."""
        log = self.root / "logs" / "agent.log"
        lines = log.read_text().splitlines(True) if log.exists() else []
        about = "".join([line for line in lines if word in line][-30:])
        found = [f"--- agent on {word}\n{about}--- agent\n{''.join(lines[-30:])}"]
        for path in sorted(Path("/run/netns").iterdir()):
            for what in (("-s", "link"), ("route",), ("neighbour",)):
                done = subprocess.run(
                    ["ip", "-n", path.name, *what], capture_output=True, text=True, check=False, timeout=30
                )
                found.append(f"--- {path.name}: ip {' '.join(what)}\n{done.stdout[-4000:]}{done.stderr}")
        return "\n".join(found)

    def prepare(self, families: tuple[str, ...] = ("tiny", "debian-12"), **settings: Any) -> None:
        """Images (from the cache where it has them) and configuration."""
        (self.root / "images").mkdir(parents=True)
        for family in families:
            build(family, self.root / "images", default_cache(), print)
        lines = [f"{name} = {json.dumps(value)}" for name, value in {"accelerator": "tcg", **settings}.items()]
        (self.root / "config.toml").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """``pileus up``."""
        self.pileus("up")

    def destroy(self) -> None:
        """Takes everything off the machine."""
        self.pileus("down", "--destroy")
        shutil.rmtree(self.root)

    def environment(self) -> dict[str, str]:
        """What ``pileus env`` says, on top of this process's environment."""
        exports = dict(line.removeprefix("export ").split("=", 1) for line in self.pileus("env").splitlines())
        return {**os.environ, **exports, "AWS_PAGER": ""}

    def aws(self, *arguments: str, check: bool = True) -> Any:
        """Runs the real AWS CLI and returns its JSON output (None: it printed nothing)."""
        done = subprocess.run(
            [AWS, "--output", "json", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment(),
            timeout=600,
        )
        assert not check or done.returncode == 0, f"aws {arguments}: {done.stderr}{self.logs()}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def client(self, service: str = "ec2") -> Any:
        """A boto3 client."""
        import boto3

        told = self.environment()
        return boto3.client(
            service,
            endpoint_url=told["AWS_ENDPOINT_URL"],
            region_name=told["AWS_DEFAULT_REGION"],
            aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
        )


class Login:
    """SSH into a guest with a key file, as its image's user. It ends when the guest is silent for a while: a connection
    that EC2 does not track is lost when its rule goes."""

    def __init__(self, user: str, address: str, key: Path) -> None:
        self.argv = [
            "ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3",
            "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=5", f"{user}@{address}",
        ]  # fmt: skip

    def try_run(self, command: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs a command in the guest, whatever comes of it."""
        return subprocess.run([*self.argv, command], capture_output=True, text=True, check=False, timeout=timeout)

    def run(self, command: str, timeout: float = 60.0) -> str:
        """What a command in the guest prints; it must succeed."""
        done = self.try_run(command, timeout)
        assert done.returncode == 0, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def wait(self, seconds: float = 180.0, explain: Callable[[], str] = lambda: "") -> "Login":
        """Waits until logging in works. ``explain`` tells why it might not."""
        said: list[str] = []

        def works() -> bool:
            done = self.try_run("true")
            said[:] = [f"{done.returncode} {done.stderr.strip()}"]
            return done.returncode == 0

        try:
            eventually(works, seconds, 0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}; ssh: {said}\n{explain()}") from error
        return self
