"""Trains networks from scratch and evaluates them: `retrain/command.py`."""

import sys

from retrain.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
