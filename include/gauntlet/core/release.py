"""The files of a release folder, by name. ``manifest.json`` lists every other one with its digest."""

from __future__ import annotations

MANIFEST = "manifest.json"
MODEL_TEXT = "model.txt"
SIDECAR = "sidecar.json"
GOLDEN = "golden.json"
PROFILE = "profile.json"
NEEDED = (MODEL_TEXT, SIDECAR, GOLDEN)
"""Without these nothing is served."""
