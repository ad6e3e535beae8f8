"""Gauntlet: nightly LightGBM retraining behind fail-closed gates, a registry promotion and a judged canary."""

__version__ = "0.1.0"
