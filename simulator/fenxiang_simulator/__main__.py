"""``python -m fenxiang_simulator`` is the console command ``fenxiang-simulator``."""

from __future__ import annotations

from fenxiang_simulator.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
