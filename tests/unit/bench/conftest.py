import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))  # the bench is a program beside the package, not a part of it
