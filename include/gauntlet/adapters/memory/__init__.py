"""In-memory twins of the adapters, for tests and for development without services."""
