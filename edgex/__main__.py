"""`python -m edgex` is the command line."""

from __future__ import annotations

from edgex.cli import main

if __name__ == "__main__":
    main()
