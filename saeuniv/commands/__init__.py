"""The commands beside the Hydra application: one module each, with `main(argv) -> exit code`."""
