"""The end of a guest's serial output, on disk. Called by ``guest``."""

from pathlib import Path


class Console:
    """A file that keeps the last ``limit`` bytes; it never holds more than twice that, whatever the guest writes."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit

    def append(self, data: bytes) -> None:
        """Adds what the guest said. Raises OSError."""
        kept = self._path.stat().st_size if self._path.exists() else 0
        if kept + len(data) <= 2 * self._limit:
            with self._path.open("ab") as file:
                file.write(data)
            return
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes((self.read() + data)[-self._limit :])
        fresh.replace(self._path)

    def read(self) -> bytes:
        """The last ``limit`` bytes; nothing when there never was any. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                end = file.seek(0, 2)
                file.seek(max(0, end - self._limit))
                return file.read(self._limit)
        except FileNotFoundError:
            return b""
