"""A running cloud, as the ``pileus`` command sees it: is it there, how is it reached, start it, stop it."""

import fcntl
import os
import signal
import ssl
import struct
import subprocess  # noqa: TID251 - the constant DEVNULL
import threading
import urllib.error
import urllib.request
from typing import Any

import msgspec

from pileus.aws.client import client
from pileus.base.clock import SystemClock
from pileus.base.config import Config
from pileus.base.process import spawn
from pileus.cmd.errors import CloudError
from pileus.cmd.layout import Credentials, Layout
from pileus.cmd.plan import supervisor_command
from pileus.cmd.privileges import CONTROL_UID

_clock = SystemClock()
_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, holder (fcntl(2))


def endpoint(settings: Config) -> str:
    """The URL of the API, from this machine."""
    scheme = "https" if settings.certificate else "http"
    host = "127.0.0.1" if settings.listen in {"0.0.0.0", "::"} else settings.listen  # noqa: S104 - compared, not bound
    return f"{scheme}://{host}:{settings.port}"


def supervisor_pid(layout: Layout) -> int | None:
    """The running supervisor's process id, which the kernel knows by the lock it holds; None when there is none."""
    try:
        with layout.lock_file.open() as lock:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return None
    return None if kind == fcntl.F_UNLCK else pid


def healthy(settings: Config) -> bool:
    """Whether the API answers."""
    try:
        with urllib.request.urlopen(f"{endpoint(settings)}/health", timeout=2, context=_trust(settings)) as answer:  # noqa: S310 - our own http(s) URL
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def _trust(settings: Config) -> ssl.SSLContext | None:
    """Trusts the configured certificate itself, whoever signed it and whatever name it is for: it is ours."""
    if settings.certificate is None:
        return None
    context = ssl.create_default_context(cafile=settings.certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def start(layout: Layout, settings: Config, *, simulate: bool, patience: float = 30.0) -> None:
    """Starts the supervisor in the background and waits until the API answers. Harmless when it runs already.

    Raises:
        CloudError: it did not come up; the message says where to look.
    """
    layout.prepare(CONTROL_UID, simulate=simulate)
    command = supervisor_command(layout, settings, simulate=simulate)
    supervisor: subprocess.Popen[bytes] | None = None
    log = layout.logs / "supervisor.log"
    if supervisor_pid(layout) is None:
        with log.open("ab") as output:
            supervisor = spawn(
                *command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    deadline = _clock.monotonic() + patience
    while not (supervisor_pid(layout) and healthy(settings) and layout.credentials.exists()):
        if supervisor is not None and supervisor.poll() is not None and supervisor_pid(layout) is None:
            raise CloudError((log.read_text().splitlines() or ["The supervisor was killed."])[-1])
        if _clock.monotonic() > deadline:
            raise CloudError(
                f"The cloud did not come up in {patience:.0f} s. See {layout.logs}/*.log, or run: pileus doctor"
            )
        _pause()


def stop(layout: Layout, patience: float = 60.0) -> bool:
    """Stops the control plane; guests run on. False when nothing ran.

    Raises:
        CloudError: the supervisor did not end.
    """
    pid = supervisor_pid(layout)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = _clock.monotonic() + patience
    while supervisor_pid(layout) is not None:
        if _clock.monotonic() > deadline:
            raise CloudError(f"The supervisor (process {pid}) did not end in {patience:.0f} s.")
        _pause()
    return True


def _pause() -> None:
    threading.Event().wait(0.05)


def credentials(layout: Layout) -> Credentials:
    """The first account's root access key. Raises CloudError before the first start."""
    try:
        return msgspec.json.decode(layout.credentials.read_bytes(), type=Credentials)
    except FileNotFoundError as error:
        raise CloudError("There is no cloud in this data directory yet. Start it with: pileus up") from error


def connect(layout: Layout, settings: Config, service: str = "ec2", region: str | None = None) -> Any:
    """A client of this cloud with the root access key."""
    keys = credentials(layout)
    return client(
        service,
        endpoint=endpoint(settings),
        region=region or settings.default_region,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        verify=settings.certificate,
    )
