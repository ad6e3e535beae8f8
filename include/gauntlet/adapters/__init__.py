"""One outside thing per file, each behind one small protocol of core.ports."""
