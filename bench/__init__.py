"""How Pileus compares, as ratios measured in one run: ``make bench``, or ``python -m bench``. See docs/bench.md.

Each measurement is a module with a ``measure`` function that gives rows. Peers are measured in turns with Pileus, so that
what the machine does beside hurts all of them alike.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests/conformance"))  # the bare guest is the image tests' as well
