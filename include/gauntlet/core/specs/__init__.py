"""The sections of a model spec, one file each."""
