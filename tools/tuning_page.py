"""Renews docs/tuning.md between its marks: the table of all options, and what was measured.

    python tools/tuning_page.py

The options' own text is in imfast/config/schema.py; a test compares the page with it. What knobs
do is in docs/tuning/figures.json (`python -m benchmarks.tuning.measure`): each has its marks, a
picture and a table between them, and what somebody concluded beside them.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.tuning.figures import KnobFigures, read  # noqa: E402
from benchmarks.tuning.plot import picture, table  # noqa: E402
from imfast.config.load import options  # noqa: E402

PAGE = ROOT / "docs/tuning.md"
PICTURES = ROOT / "docs/tuning"
OPTIONS = "options"
AFTER_KNOBS = "## Every option\n"


def options_table() -> str:
    """Every option: flag, environment name, default, range, when to touch it."""
    lines = ["| flag | environment | default | allowed | when |", "| --- | --- | --- | --- | --- |"]
    for option in options().values():
        cells = (f"`{option.flag}`", f"`{option.environment}`", option.default, option.allowed)
        row = [cell.replace("|", "\\|") or "any text" for cell in (*cells, option.when)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def knob_text(option: str, figures: KnobFigures) -> str:
    """A knob's picture and table."""
    about = f"What --{option.replace('_', '-')} does: {figures.work}"
    return "\n".join(["", f"![{about}](tuning/{option}.svg)", "", *table(figures), ""]) + "\n"


def new_section(option: str) -> str:
    """A place for a knob that was not measured before; what follows from it, somebody adds."""
    described = options()[option]
    marks = f"<!-- {option}: begin -->\n<!-- {option}: end -->\n"
    return f"### `{described.flag}`\n\n{marks}\n{described.when}\n\n"


def replaced(page: str, name: str, text: str) -> str:
    """The page with the text between the marks of that name.

    Raises:
        ValueError: it has no such marks.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"docs/tuning.md has no marks {begin.strip()} … {end.strip()}")
    return before + begin + text + end + after


def renewed(page: str) -> str:
    """The page with the table as the schema has it now, and all that was measured."""
    for option, figures in read().items():
        if f"<!-- {option}: begin -->" not in page:
            page = page.replace(AFTER_KNOBS, new_section(option) + AFTER_KNOBS)
        page = replaced(page, option, knob_text(option, figures))
    return replaced(page, OPTIONS, options_table())


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
    for option, figures in read().items():
        (PICTURES / f"{option}.svg").write_text(picture(option, figures))
