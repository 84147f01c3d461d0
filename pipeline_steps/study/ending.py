"""What a person reads last: the table and where the report is, or what went wrong."""

import sys
from pathlib import Path


def say_results(results: str, mapped: str | None = None) -> None:
    """Print the table that people wait for, and where everything is; or where ``mapped`` is."""
    if mapped:
        print(f"maps: {Path(mapped).absolute()}", file=sys.stderr)
        return
    table, report = (Path(results, name) for name in ("tabulate/overall.md", "report/index.html"))
    if table.is_file() and report.is_file():
        print(f"{table.read_text(encoding='utf-8')}\nreport: {report.absolute()}", file=sys.stderr)
    maps = Path(results, "predict").absolute()
    if maps.is_dir():
        print(f"maps: {maps}", file=sys.stderr)


def say_errors(logs: str, since: float) -> None:
    """Repeat the last error of every log written after ``since`` (seconds of the epoch).

    Snakemake's own words stand between them and the end, and below an error may be what torchrun
    says of it.
    """
    for path in sorted(Path(logs).rglob("*.log")):
        if path.stat().st_mtime >= since:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            errors = [line for line in lines if line.startswith("error: ")]
            if errors:
                print(f"{errors[-1]} ({path})", file=sys.stderr)
