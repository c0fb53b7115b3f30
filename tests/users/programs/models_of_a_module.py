"""The same with classes of a module."""

import sys

from models import main

main(*sys.argv[1:])
