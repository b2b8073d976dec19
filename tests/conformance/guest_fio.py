"""fio inside a guest whose image doesn't have it. For the tests of volumes under load, and the bench."""

import json
from collections.abc import Sequence
from typing import Any

from guest_program import GuestProgram


class GuestFio:
    """fio in one guest. ``login`` is the ssh command up to the remote command, of a user who may use sudo."""

    def __init__(self, login: Sequence[str]) -> None:
        self._program = GuestProgram(login, "fio")

    def install(self) -> None:
        """Unpacks fio into memory (100 MB of it)."""
        self._program.install()

    def run(self, *options: str, timeout: float = 600.0) -> Any:
        """Runs a job described by ``options`` (``--rw=randread``, …) and returns fio's JSON of it.

        Raises CalledProcessError: fio found an error (a block that is not what was written, with ``--verify``).
        """
        output = self._program.run("--name=job", "--output-format=json", *options, timeout=timeout)
        return json.loads(output[output.index("{") :])["jobs"][0]

    def command(self, *options: str) -> list[str]:
        """The words of the command in the guest."""
        return self._program.command("--name=job", "--output-format=json", *options)
