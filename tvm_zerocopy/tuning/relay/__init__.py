"""Tuning with what TVM builds with Relay have: AutoTVM, Ansor (``auto_scheduler``) and their MetaSchedule."""
