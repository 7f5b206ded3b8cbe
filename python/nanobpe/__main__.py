"""`python -m nanobpe` is the command `nanobpe`."""

import sys

from nanobpe.cli import main

sys.exit(main())
