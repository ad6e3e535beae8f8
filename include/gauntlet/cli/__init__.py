"""The command line: the same pipeline as in Airflow, and what a person needs at 3 a.m.

Exit codes: 0 done; 1 a verdict against data, a model or a rollout; 2 wrong usage or a spec that
cannot be used; 3 a service did not answer; 130 interrupted.
"""

from __future__ import annotations

from gauntlet.cli.start import main

__all__ = ["main"]
