"""What the opener of a run wants to be told of it outside: where a notice goes, and by which way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

DEFAULT_HOOK_TIMEOUT_NS = 30_000_000_000  # a mail or a chat message takes a second; a hook that hangs must end


class Target(IntEnum):
    """A way on which notices leave. A number is never used again for another way."""

    WEBHOOK = 1
    HOOK = 2

    @property
    def label(self) -> str:
        """As it is shown."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reactions:
    """Where the notices of a run go; nowhere by a way that is empty.

    ``webhook_secret_file`` names the file with the key that signs the run's webhooks; empty for the daemon's own key.
    """

    webhook: str = ""
    webhook_secret_file: str = ""
    hook: tuple[str, ...] = ()
    hook_timeout_ns: int = DEFAULT_HOOK_TIMEOUT_NS

    @property
    def targets(self) -> tuple[Target, ...]:
        """The ways that there are."""
        ways = ((Target.WEBHOOK, self.webhook), (Target.HOOK, self.hook))
        return tuple(target for target, place in ways if place)

    def over(self, standing: Reactions) -> Reactions:
        """These, with what stands for every run in the place of each way that is empty."""
        webhook, hook = (self if self.webhook else standing), (self if self.hook else standing)
        return Reactions(
            webhook=webhook.webhook,
            webhook_secret_file=webhook.webhook_secret_file,
            hook=hook.hook,
            hook_timeout_ns=hook.hook_timeout_ns,
        )
