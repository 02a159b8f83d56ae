"""Puts the named steps, and a planted bug where one is chosen, into whatever Python process finds this on its path."""

import os

if "PYTHON_LEASH_CRASH" in os.environ:
    import crash_points

    crash_points.install()
