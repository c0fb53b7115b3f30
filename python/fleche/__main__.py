"""`python -m fleche`."""

import sys

from fleche.cli import main

if __name__ == "__main__":
    sys.exit(main())
