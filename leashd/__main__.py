"""``python -m leashd``."""

from leashd.main import main

main()
