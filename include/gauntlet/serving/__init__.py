"""The model server: loader, scorer, split, journal, metrics."""
