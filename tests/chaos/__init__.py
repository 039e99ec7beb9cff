"""Chaos: a running gateway whose processes are killed and stopped at random, and an auditor that counts the leads.

`make test` runs it for half a minute, `make chaos` until 1,000 kills (`docs/reliability.md`).
"""
