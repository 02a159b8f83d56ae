"""``python -m leashctl`` is ``leashctl``."""

from leashctl.main import leashctl

if __name__ == "__main__":
    leashctl(prog_name="leashctl")
