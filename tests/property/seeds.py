"""How many random lives the tests of this directory try, and how to have one of them again."""

from __future__ import annotations

import os
from collections.abc import Sequence

# Enough for each planted bug of the kinds that the tests are for to be found, in less than a minute on two cores.
DEFAULT_EXAMPLES = 10
STEPS = int(os.environ.get("LEASH_PROPERTY_STEPS", "200"))


def seeds(share: float = 1.0) -> Sequence[int]:
    """The seeds to try: LEASH_PROPERTY_EXAMPLES of them (its ``share``), or only LEASH_PROPERTY_SEED."""
    only = os.environ.get("LEASH_PROPERTY_SEED")
    if only is not None:
        return [int(only)]
    examples = int(os.environ.get("LEASH_PROPERTY_EXAMPLES", str(DEFAULT_EXAMPLES)))
    return range(max(1, int(examples * share)))
