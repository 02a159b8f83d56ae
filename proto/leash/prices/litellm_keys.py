"""What the keys of LiteLLM's table mean: which rate, of which tokens, over how many input tokens, in which tier.

Source: https://github.com/BerriAI/litellm, ``llm_cost_calc/utils.py`` for how suffixes are meant.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from leash.prices.rates import BASE_TIER, RATE_NAMES

# The tokens whose kinds leash's usage tells apart, and what it writes to a cache for longest, which it does not.
TOLD_APART = "told_apart"
LONGEST_LIFE = "longest_life"

# The rates by whose tokens they are for. A provider's usage, as leash keeps it, does not tell the tokens of a video, a
# citation or a cached image from those of text, so that they count as input, output or cached input.
_RATES = {
    TOLD_APART: {
        "input_cost_per_token": "input",
        "output_cost_per_token": "output",
        "output_cost_per_reasoning_token": "reasoning",
        "cache_read_input_token_cost": "cached_input",
        "cache_creation_input_token_cost": "cache_write",
        "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
        "input_cost_per_audio_token": "audio_input",
        "output_cost_per_audio_token": "audio_output",
        "input_cost_per_image_token": "image_input",
        "output_cost_per_image_token": "image_output",
    },
    LONGEST_LIFE: {"cache_creation_input_token_cost_above_12hr": "cache_write_1h"},
    "cached_image": {"cache_read_input_image_token_cost": "cached_input"},
    "video": {"input_cost_per_video_token": "input", "output_cost_per_video_token": "output"},
    "citation": {"citation_cost_per_token": "input"},
}
_MEANINGS = {key: (tokens, RATE_NAMES.index(name)) for tokens, names in _RATES.items() for key, name in names.items()}

# How keys begin that only LiteLLM's table has.
PREFIXES = ("input_cost_per_", "output_cost_per_", "cache_read_input_", "cache_creation_input_")

# The suffixes that compose: over how many input tokens, and in which service tier, in either order.
_TIER_SUFFIXES = {"batches": "batch"}
_TIER = "priority|flex|batches|fast|ultrafast|balanced"
_ABOVE = r"_above_(?P<{name}>[0-9]{{1,6}})(?P<{name}_thousands>k?)_tokens"
_RATE_KEY = re.compile(
    f"(?P<rate>{'|'.join(sorted(_MEANINGS, key=len, reverse=True))})"
    f"(?:{_ABOVE.format(name='above')})?(?:_(?P<tier>{_TIER}))?(?:{_ABOVE.format(name='late')})?"
)


class Place(NamedTuple):
    """Where a key's rate belongs: whose tokens, its index in ``Rates``, over how much input, and in which tier."""

    tokens: str
    kind: int
    above_tokens: int
    tier: str


@lru_cache(maxsize=1024)  # the file has about 200 different keys, repeated in thousands of entries
def place(key: str) -> Place | None:
    """Which rate a key gives; ``None`` for a key that gives none."""
    match = _RATE_KEY.fullmatch(key)
    if match is None:
        return None
    name = "above" if match["above"] else "late"
    above_tokens = int(match[name] or 0) * (1000 if match[f"{name}_thousands"] else 1)
    tier = match["tier"] or BASE_TIER
    return Place(*_MEANINGS[match["rate"]], above_tokens, _TIER_SUFFIXES.get(tier, tier))
