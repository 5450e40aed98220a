"""Run saeuniv from a checkout: `python launch.py --help`; what `saeuniv` takes, this takes."""

from saeuniv.cli import main  # fish completion looks for the text @hydra.main in this file

if __name__ == "__main__":
    main()
