"""A program of the host's in a guest whose image doesn't have it, sent over SSH with its libraries.

For the tests of volumes and networks under load, and the bench.
"""

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_LOADER = "/lib64/ld-linux-x86-64.so.2"


@cache
def bundle(name: str) -> bytes:
    """A tar archive of a program, its libraries and the loader. Raises FileNotFoundError where the host doesn't have it."""
    program = shutil.which(name)
    if program is None:
        raise FileNotFoundError(name)
    listing = subprocess.run([_LOADER, "--list", program], check=True, capture_output=True, text=True).stdout
    files = [Path(program), Path(_LOADER), *map(Path, re.findall(r" => (/\S+)", listing))]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for file in files:
            tar.add(file.resolve(), file.name)
    return archive.getvalue()


class GuestProgram:
    """A program in one guest. ``login`` is the ssh command up to the remote command, of a user who may use sudo."""

    def __init__(self, login: Sequence[str], name: str) -> None:
        self.login = tuple(login)
        self._name = name
        self._home = f"/run/{name}"

    def install(self) -> None:
        """Unpacks it into the guest's memory."""
        home, loader = self._home, Path(_LOADER).name
        unpack = f"sudo mkdir -p {home} && sudo tar -xz -C {home} && sudo ln -sf {home}/{loader} {home}/ld"
        subprocess.run([*self.login, unpack], input=bundle(self._name), check=True, capture_output=True, timeout=300)

    def command(self, *options: str) -> list[str]:
        """The words of the command in the guest."""
        return ["sudo", f"{self._home}/ld", "--library-path", self._home, f"{self._home}/{self._name}", *options]

    def run(self, *options: str, timeout: float = 600.0) -> str:
        """Runs it and returns what it prints. Raises CalledProcessError when it fails."""
        words = [*self.login, " ".join(self.command(*options))]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=timeout).stdout
