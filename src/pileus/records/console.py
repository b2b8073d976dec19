"""What a terminated instance said on its serial console."""

from datetime import datetime
from typing import ClassVar

from pileus.base.record import Record


class ConsoleLog(Record, frozen=True, kw_only=True):
    """``id`` is the instance's; ``output`` its last 64 KiB at ``taken``."""

    kind: ClassVar[str] = "console-log"

    output: bytes
    taken: datetime
