"""fio inside a guest whose image doesn't have it: the host's program with its libraries, sent over SSH.

For the tests of volumes under load, and the bench.
"""

import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

_HOME = "/run/fio"
_LOADER = "/lib64/ld-linux-x86-64.so.2"


@cache
def bundle() -> bytes:
    """A tar archive of fio, its libraries and the loader. Raises FileNotFoundError where the host has no fio."""
    program = shutil.which("fio")
    if program is None:
        raise FileNotFoundError("fio")
    listing = subprocess.run([_LOADER, "--list", program], check=True, capture_output=True, text=True).stdout
    files = [Path(program), Path(_LOADER), *map(Path, re.findall(r" => (/\S+)", listing))]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for file in files:
            tar.add(file.resolve(), file.name)
    return archive.getvalue()


class GuestFio:
    """fio in one guest. ``login`` is the ssh command up to the remote command, of a user who may use sudo."""

    def __init__(self, login: Sequence[str]) -> None:
        self._login = tuple(login)

    def install(self) -> None:
        """Unpacks fio into memory (100 MB of it)."""
        unpack = (
            f"sudo mkdir -p {_HOME} && sudo tar -xz -C {_HOME} && sudo ln -s {_HOME}/{Path(_LOADER).name} {_HOME}/ld"
        )
        subprocess.run([*self._login, unpack], input=bundle(), check=True, capture_output=True, timeout=300)

    def run(self, *options: str, timeout: float = 600.0) -> Any:
        """Runs a job described by ``options`` (``--rw=randread``, …) and returns fio's JSON of it.

        Raises CalledProcessError: fio found an error (a block that is not what was written, with ``--verify``).
        """
        done = subprocess.run(
            [*self._login, " ".join(self.command(*options))],
            check=True,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]

    def command(self, *options: str) -> list[str]:
        """The words of the command in the guest."""
        words = ["sudo", f"{_HOME}/ld", "--library-path", _HOME, f"{_HOME}/fio", "--name=job", "--output-format=json"]
        return [*words, *options]
