"""The command line: the same pipeline as in Airflow, and what a person needs at 3 a.m.

Exit codes: 0 done, and what was asked was found well; 1 a verdict against data, a model, a layer or a rollout, or none
for want of evidence (inconclusive is never a 0), or not permitted; 2 wrong usage, an unknown model, a spec or setting
that cannot be used; 3 a service, disk or database did not answer; 130 interrupted.
"""

from __future__ import annotations

from gauntlet.cli.start import main

__all__ = ["main"]
