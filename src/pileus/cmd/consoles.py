"""The API's way to guests' consoles: through the controllers' socket."""

from pathlib import Path
from typing import Literal

from pileus.controllers.console import Question, read_console
from pileus.operations.context import ConsoleUnavailable


class SocketConsoles:
    """Implements ``pileus.operations.context.Consoles``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self, host_id: str, instance_id: str, what: Literal["output", "screenshot"]) -> bytes:
        """The bytes asked for. Raises ConsoleUnavailable."""
        try:
            answer = await read_console(self._path, Question(host_id, instance_id, what))
        except (OSError, TimeoutError) as error:
            raise ConsoleUnavailable("the controllers do not answer") from error
        if answer.error:
            raise ConsoleUnavailable(answer.error)
        return answer.data
