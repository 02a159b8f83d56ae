"""What every process of leash shares: the wire contract, its client, units and prices."""
