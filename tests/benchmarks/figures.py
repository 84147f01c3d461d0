"""What the runs of ``tests.benchmarks.predict`` say: ratios to the best peer, and a table."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

PEERS = ("torchgeo", "monai", "rastervision", "naive")
Row = dict[str, Any]
Rounds = dict[str, list[Row]]
"""Rows of one case by contestant, in the order of rounds."""

BEGIN, END = "<!-- figures of predict: begin -->", "<!-- figures of predict: end -->"

COLUMNS = {
    "wall s": ("seconds", 2),
    "CPU s": ("cpu_s", 2),
    "overhead s": ("overhead_s", 2),
    "peak GB": ("peak_rss_gb", 2),
    "beyond imports GB": ("work_rss_gb", 3),
    "windows/s": ("windows_per_s", 2),
    "of network's rate": ("to_network", 3),
    "seam": ("seam", 3),
    "label seam": ("label_seam", 3),
    "agrees with naive": ("agrees_with_naive", 5),
}


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return the figures of the last line; adds overheads and rates to ``rows``."""
    cases = _cases(rows)
    by_case = {f"{network} {size}": _ratios(one) for (network, size), one in cases.items()}
    stub, deep = (_largest(cases, name) for name in ("stub", "dinov2"))
    overhead, speed = by_case.get(stub, {}), by_case.get(deep) or by_case.get(stub, {})
    headline = {key: overhead.get(key) for key in _keys("rss") + _keys("overhead")}
    headline |= {key: speed.get(key) for key in ("throughput_to_network", *_keys("throughput"))}
    return headline | {
        "seam": {
            network: cases[network, size]["ours"][0].get("seam")
            for network, size in sorted(cases)
            if "seam" in cases[network, size].get("ours", [{}])[0]
        },
        "rss_growth": _growth(cases),
        "by_case": by_case,
    }


def _keys(of: str) -> list[str]:
    return [f"{of}_to_best_peer", f"{of}_with_tile_to_best_peer"]


def _cases(rows: list[Row]) -> dict[tuple[str, int], Rounds]:
    """Return rows by network and size, then by contestant, with what follows from ``bare``."""
    cases: dict[tuple[str, int], Rounds] = {}
    for row in rows:
        case = cases.setdefault((row["network"], row["size"]), {})
        case.setdefault(row["contestant"], []).append(row)
    for case in cases.values():
        for row in (row for runs in case.values() for row in runs if "windows" in row):
            bare = case["bare"][row["round"]]
            row["windows_per_s"] = row["windows"] / row["seconds"]
            if row is not bare:
                row["overhead_s"] = row["cpu_s"] - row["windows"] * bare["cpu_s"] / bare["windows"]
                row["to_network"] = row["windows_per_s"] * bare["seconds"] / bare["windows"]
    return cases


def _largest(cases: dict[tuple[str, int], Rounds], network: str) -> str | None:
    """Return the largest case of a network that ours and a peer have run."""
    sizes = [
        size
        for (name, size), case in cases.items()
        if name == network and "ours" in case and set(case) & set(PEERS)
    ]
    return f"{network} {max(sizes)}" if sizes else None


def _ratios(case: Rounds) -> dict[str, Any]:
    """Return how ours does against the peer that does best, with the stage ``tile`` and without."""
    if "ours" not in case or not set(case) & set(PEERS):
        return {}
    with_tile = [
        ours
        | {
            "work_rss_gb": max(ours["work_rss_gb"], tile["work_rss_gb"]),
            "overhead_s": ours["overhead_s"] + tile["cpu_s"],
            "windows_per_s": ours["windows"] / (ours["seconds"] + tile["seconds"]),
        }
        for ours, tile in zip(case["ours"], case["tile"], strict=True)
    ]
    to_network = round(_median(case["ours"], "to_network"), 3)
    found: dict[str, Any] = {"throughput_to_network": to_network}
    kinds = {"rss": "work_rss_gb", "overhead": "overhead_s", "throughput": "windows_per_s"}
    for kind, key in kinds.items():
        best = max if key == "windows_per_s" else min
        peer = _best(case, key, best)
        names = zip(_keys(kind), (case["ours"], with_tile), strict=True)
        found |= {name: _ratio(ours, case[peer], key) for name, ours in names}
        found[f"best_peer_{kind}"] = peer
    return found


def _best(case: Rounds, key: str, best: Callable[..., str]) -> str:
    return best((name for name in PEERS if name in case), key=lambda name: _median(case[name], key))


def _ratio(ours: list[Row], theirs: list[Row], key: str) -> float | None:
    """Return the median of ratios within rounds; None where noise has eaten a difference."""
    pairs = [(a[key], b[key]) for a, b in zip(ours, theirs, strict=True)]
    if any(min(pair) <= 0 for pair in pairs):
        return None
    return round(statistics.median(a / b for a, b in pairs), 3)


def _median(runs: list[Row], key: str) -> float:
    return round(statistics.median(run[key] for run in runs), 6)


def _growth(cases: dict[tuple[str, int], Rounds]) -> float | None:
    """Return the whole memory of ours at its largest over that at the largest size of others."""
    peaks = {
        size: (_median(case["ours"], "peak_rss_gb"), bool(set(case) & set(PEERS)))
        for (network, size), case in cases.items()
        if network == "stub" and "ours" in case
    }
    alone = [size for size, (_, has_peers) in peaks.items() if not has_peers]
    shared = [size for size, (_, has_peers) in peaks.items() if has_peers]
    if not alone or not shared:
        return None
    return round(peaks[max(alone)][0] / peaks[max(shared)][0], 3)


def markdown(rows: list[Row]) -> str:
    """Return medians of the runs, one line a network, size and contestant."""
    lines = []
    for (network, size), case in _cases(rows).items():
        for contestant, runs in case.items():
            line = {"network": network, "size": size, "contestant": contestant}
            for title, (key, digits) in COLUMNS.items():
                values = [run[key] for run in runs if run.get(key) is not None]
                line[title] = f"{statistics.median(values):.{digits}f}" if values else ""
            lines.append(line)
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def write_markdown(path: Path, found: dict[str, Any]) -> None:
    """Write table, machine and versions: between the marks if the file has them, else all of it."""
    machine = found["machine"]
    rounds = 1 + max(row["round"] for row in found["runs"])
    versions = machine["versions"] | {
        name: version for row in found["runs"] for name, version in row["versions"].items()
    }
    gpu = f", {machine['gpu']}" if machine["gpu"] else ", no GPU"
    said = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB{gpu};"
        f" Python {machine['python']}; medians, rounds: {rounds} (one of what ours runs alone);"
        f" {', '.join(f'{name} {versions[name]}' for name in sorted(versions))}."
    )
    text = f"{BEGIN}\n\n{markdown(found['runs'])}\n\n{said}\n\n{_ratio_lines(found)}\n\n{END}"
    old = path.read_text() if path.is_file() else f"{BEGIN}{END}\n"
    head, mark, rest = old.partition(BEGIN)
    if not mark or END not in rest:
        raise ValueError(f"{path}: has no marks, expected {BEGIN} and {END}, or no such file")
    path.write_text(head + text + rest.partition(END)[2])


def _ratio_lines(found: dict[str, Any]) -> str:
    lines = [
        {"case": case} | {key: "" if value is None else value for key, value in ratios.items()}
        for case, ratios in found["by_case"].items()
        if ratios
    ]
    growth = f"`rss_growth`: {found['rss_growth']}" if found["rss_growth"] else ""
    if not lines:
        return growth
    table = pd.DataFrame(lines).set_index("case").T
    return f"{table.to_markdown(disable_numparse=True)}\n\n{growth}".strip()
