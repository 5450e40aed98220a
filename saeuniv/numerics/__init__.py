"""Pure functions: arrays and numbers in, NamedTuples out; no I/O, no global state, float64 throughout."""
