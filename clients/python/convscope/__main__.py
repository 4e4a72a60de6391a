"""`python -m convscope` is `convscope`."""

from __future__ import annotations

from convscope.cli import main

if __name__ == "__main__":
    main()
