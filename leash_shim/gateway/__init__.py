"""The gateway: one endpoint for many runs and tenants, served by workers that share one daemon's truth."""
