"""`python -m fleche`."""

import sys

from fleche._cli import main

if __name__ == "__main__":
    sys.exit(main())
