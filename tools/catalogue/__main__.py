"""``python -m tools.catalogue``: writes the catalogue's tables into the package, from the repository's root."""

import gzip
from pathlib import Path

import click

from tools.catalogue.tables import build

DATA = Path(__file__).parents[2] / "src" / "pileus" / "catalogue" / "data"


@click.command()
def main() -> None:
    """Make the tables anew from the installed moto and apache-libcloud."""
    for name, text in build().items():
        path = DATA / f"{name}.json.gz"
        path.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
        click.echo(f"{path.name}: {path.stat().st_size:,} bytes, {len(text):,} unpacked")


if __name__ == "__main__":
    main()
