"""``python -m dwp_sweep``: the command, where its script is not on the path."""

from dwp_sweep.cli import main

if __name__ == "__main__":
    main(prog_name="dwp-sweep")
