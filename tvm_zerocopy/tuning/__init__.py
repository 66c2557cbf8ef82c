"""Tuning: search the schedules' design spaces on the target, keep and publish what was measured."""
