"""Statistics of change, one idea per file; :mod:`gauntlet.core.statistics.registry` lists them."""
