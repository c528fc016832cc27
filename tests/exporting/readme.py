"""Whether the README says how an export is loaded."""

from pathlib import Path

README = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")


def in_readme(report):
    """Whether the README shows the line, with OUT for the folder."""
    return f"`{report.line.replace(str(report.out), 'OUT')}`" in README
