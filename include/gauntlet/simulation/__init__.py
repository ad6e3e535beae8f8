"""The seeded world that the demo, the tests and the benchmarks use."""
