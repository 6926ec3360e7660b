"""Searches how the tasks of a dense-prediction network should exchange features: `supernet/command.py`."""

import sys

from supernet.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
