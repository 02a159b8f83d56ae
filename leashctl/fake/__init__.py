"""What the fake provider answers: a file per wire format, pure. ``leashctl.fake_provider`` serves it."""
