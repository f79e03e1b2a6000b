"""Write .env for docker compose: .env.example with a random value for every secret that it leaves empty.

    python3 -m demo.dotenv

Needs nothing but Python. An existing .env stays as it is: its secrets are those of the running databases.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EMPTY = re.compile(r"^([A-Z_]+)=$", re.MULTILINE)


def filled(example: str) -> str:
    """`example` with random values: a Fernet key for FERNET_KEY, else hexadecimal, which needs no quoting in a URL.

    >>> filled("A=1\\n# B=")
    'A=1\\n# B='
    """
    return EMPTY.sub(lambda line: f"{line[1]}={_random_value(line[1])}", example)


def main(root: Path = ROOT) -> int:
    path = root / ".env"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{path} is there already and stays as it is; remove it first for new secrets.", file=sys.stderr)
        return 1
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(filled((root / ".env.example").read_text(encoding="utf-8")))
    print(f"Wrote {path}; only you can read it. AIRFLOW_ADMIN_PASSWORD in it is for the log-in.")
    return 0


def _random_value(name: str) -> str:
    if name == "FERNET_KEY":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(32)


if __name__ == "__main__":
    sys.exit(main())
