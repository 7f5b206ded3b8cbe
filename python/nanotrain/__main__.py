"""`python -m nanotrain`, the same as the console script."""

import sys

from nanotrain.cli import main

sys.exit(main())
