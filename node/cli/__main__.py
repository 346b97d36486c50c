"""`python -m node.cli`: the same as `merit`, for a checkout whose scripts are not on the path."""

import sys

from node.cli import main

sys.exit(main())
