"""Migrations of the control database, run by :mod:`gauntlet.adapters.store_migrate`."""
