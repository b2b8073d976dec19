"""Running other programs: the only module that starts processes."""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from typing import Any, cast

NOTHING = subprocess.DEVNULL
"""For ``stdin``, ``stdout`` and ``stderr`` of ``spawn``."""

Child = subprocess.Popen[bytes]
"""What ``spawn`` returns."""


class ProcessError(Exception):
    """A program ended with a non-zero exit status.

    Attributes:
        argv: what was run. status: its exit status (negative: the signal). stderr: the end of what it said.
    """

    def __init__(self, argv: Sequence[str], status: int, stderr: str) -> None:
        super().__init__(f"{argv[0]} ended with {status}: {stderr.strip()[-800:]}")
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr


async def run(
    *argv: str,
    stdin: bytes | None = None,
    timeout: float = 60.0,  # noqa: ASYNC109 - the child must be killed when the time is over, which a caller's scope can't do
    **options: Any,
) -> bytes:
    """Runs a program to its end and returns its standard output.

    ``timeout`` is in seconds; ``options`` go to ``asyncio.create_subprocess_exec``.

    Raises:
        ProcessError: the exit status was not zero.
        TimeoutError: it took longer than ``timeout``; it has been killed and reaped.
    """
    source = asyncio.subprocess.DEVNULL if stdin is None else _file_of(stdin)
    try:
        child = await asyncio.create_subprocess_exec(
            *argv, stdin=source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, **options
        )
    finally:
        if stdin is not None:
            os.close(source)
    try:
        async with asyncio.timeout(timeout):
            out, err = await child.communicate()
    except BaseException:
        if child.returncode is None:
            child.kill()
            await child.wait()
        raise
    if child.returncode:
        raise ProcessError(argv, child.returncode, err.decode(errors="replace"))
    return out


def _file_of(data: bytes) -> int:
    """A file in memory, at its beginning. A program may open ``/dev/stdin`` anew (conntrack does), as it can't uvloop's
    sockets, and may end without having read it all.
    """
    file = os.memfd_create("stdin")
    with os.fdopen(file, "wb", closefd=False) as writer:
        writer.write(data)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def run_sync(*argv: str, stdin: bytes | None = None, timeout: float = 60.0, **options: Any) -> bytes:
    """The same for code outside an event loop (commands, image builds)."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
            **options,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{argv[0]} took longer than {timeout} s") from error
    if done.returncode:
        raise ProcessError(argv, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout


def spawn(*argv: str, **options: Any) -> "subprocess.Popen[bytes]":
    """Starts a program that goes on by itself; ``options`` go to ``subprocess.Popen``."""
    return cast("subprocess.Popen[bytes]", subprocess.Popen(argv, **options))
