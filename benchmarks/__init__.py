"""What saeuniv costs and what the embedded experiment finds, measured here and now: `make bench`."""
