"""The largest figures that the core works with, chosen so that no sum of them outgrows the 64 bits of a stored integer.

What comes from outside is cut to them where it comes in; sums stop at them. None is near anything real.
"""

from __future__ import annotations

MAX_TOKENS = 2**40  # in one call: a million times the largest context window
MAX_CHOICES = 2**16  # answers asked for in one request, and prompts in it: a thousand times what any provider gives
MAX_CALL_NANODOLLARS = 2**48  # $281,474 for one call
MAX_TOTAL = 2**61  # a run's tokens, or its nanodollars: $2.3 billion
MAX_LIMIT = 2**62  # any limit: added to an instant of this century, it is still an instant
MAX_COMPUTE_RATE_NANODOLLARS_PER_HOUR = 2**50  # $1.1 million an hour
MAX_OPEN_CALLS = 8_192  # of one run; times the dearest call that is the largest sum of holds
