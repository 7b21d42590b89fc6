"""``python -m qpsbgd`` is the command ``qpsbgd``."""

import sys

from qpsbgd.cli import main

if __name__ == "__main__":
    sys.exit(main())
