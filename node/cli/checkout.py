"""The repository checkout that this program runs from, if it does: scripts and benchmarks are not in the wheel."""

from pathlib import Path


def checkout() -> Path | None:
    """Return the checkout's root, or None when the program was installed from a wheel."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "scripts" / "setup").is_file() and (root / "tests").is_dir() else None
