"""Published tuning logs, one folder a target, each with a manifest of where its numbers come from."""
