"""Writes the table of all options into docs/tuning.md, between its two marks.

    python tools/tuning_page.py

The options' own text is in imfast/config/schema.py; a test compares the page with it.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imfast.config import options  # noqa: E402

PAGE = ROOT / "docs/tuning.md"
BEGIN, END = "<!-- options: begin -->\n", "<!-- options: end -->\n"


def table() -> str:
    """Every option: flag, environment name, default, range, when to touch it."""
    lines = ["| flag | environment | default | allowed | when |", "| --- | --- | --- | --- | --- |"]
    for option in options().values():
        cells = (f"`{option.flag}`", f"`{option.environment}`", option.default, option.allowed)
        row = [cell.replace("|", "\\|") or "any text" for cell in (*cells, option.when)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """The page with the table as the schema has it now."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/tuning.md has lost the marks of its table")
    return before + begin + table() + end + after


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
