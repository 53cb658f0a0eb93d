#!/usr/bin/env python3
"""Ratios of benchmark results as a picture (SVG) or a table (Markdown).

    bench/plot.py [FILE...] -o OUT.svg     default: of each kind in bench/results the newest
    bench/plot.py [FILE...] --table        the lines that say what is to be reached

A bar is a measured value over what it is compared with, in one run; a ratio above 2 (a batch over a single request,
say) is left out of the picture: it is no part of a whole. Marks: what is to be reached first, and in the end.
Python's standard library alone.
"""

import argparse
import html
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH, LEFT, BAR, GAP, HEAD, FULL = 960, 430, 14, 6, 26, 320  # FULL: pixels of a ratio of 1
RATIO_MAX = 2.0
INK, QUIET, FILL, REACHED, MARK = "#1f2328", "#656d76", "#4a7ebb", "#3a8f5c", "#c0392b"


def newest():
    """Of each kind, which is a file's name without its date."""
    kinds = {}
    for path in sorted((ROOT / "bench/results").glob("*.json")):
        kinds[re.sub(r"^\d{4}-\d\d-\d\d-", "", path.name)] = path
    return list(kinds.values())


def read(path):
    """The file's results, those that are compared with nothing left out; ValueError says what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as file:
            whole = json.load(file)
        lines = [line for line in whole["results"] if line.get("ratio") is not None and line.get("of", "") != ""]
        for line in lines:
            float(line["ratio"]), float(line.get("value") or 0), str(line["name"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a file of benchmark results: {error!r}; bench --json writes them") from error
    whole["results"] = lines
    return whole


def split(name):
    group, _, rest = name.rpartition(": ")
    return group, rest


def text(x, y, words, color=INK, anchor="start", size=12, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}" font-size="{size}" '
            f'font-weight="{weight}">{html.escape(words)}</text>')


def bar(line, y):
    """One result: its name, a bar, the ratio and what it is of."""
    ratio, first, aim = line["ratio"], line.get("first"), line.get("aim")
    color = REACHED if first and ratio >= first else FILL
    parts = [text(LEFT - 8, y + BAR - 3, split(line["name"])[1], anchor="end"),
             f'<rect x="{LEFT}" y="{y}" width="{max(ratio, 0) * FULL:.1f}" height="{BAR}" fill="{color}"/>']
    for goal in (first, aim):
        if goal:
            x = LEFT + goal * FULL
            parts.append(f'<line x1="{x:.1f}" y1="{y - 2}" x2="{x:.1f}" y2="{y + BAR + 2}" stroke="{MARK}" stroke-width="2"/>')
    x = LEFT + max(ratio, first or 0, aim or 0) * FULL + 6
    value = f' ({line["value"]:,.4g} {line["unit"]})' if line.get("value") is not None else ""
    parts.append(text(x, y + BAR - 3, f'{ratio:.2f} of {line["of"]}{value}', QUIET))
    return parts


def picture(files):
    body, y = [], 20
    for whole in files:
        where = whole.get("device") or whole.get("machine", "an unknown machine")
        body.append(text(10, y, f'{where}; commit {whole.get("commit", "?")}, {whole.get("date", "no date")}', size=13, weight="bold"))
        y += 8
        group = None
        for line in whole["results"]:
            if line["ratio"] > RATIO_MAX:
                continue
            if split(line["name"])[0] != group:
                group = split(line["name"])[0]
                y += HEAD - 4
                if group:
                    body.append(text(10, y - 6, group, QUIET))
            body += bar(line, y)
            y += BAR + GAP
        y += HEAD
    grid = [f'<line x1="{LEFT + FULL}" y1="10" x2="{LEFT + FULL}" y2="{y - HEAD}" stroke="{QUIET}" stroke-dasharray="3 3"/>']
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 120}" height="{y}" '
                      f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>',
                      *grid, *body, "</svg>", ""])


def table(files):
    rows = ["| what | measured | ratio | of | first | aim |", "|---|---|---|---|---|---|"]
    for whole in files:
        for line in whole["results"]:
            if line.get("first"):
                state = "**" if line["ratio"] >= line["first"] else ""
                rows.append(f'| {line["name"]} | {line["value"]:,.4g} {line["unit"]} | {state}{line["ratio"]:.3f}{state} '
                            f'| {line["of"]} | {line["first"]:.2f} | {line["aim"]:.2f} |')
    return "\n".join([*rows, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("-o", "--out", type=pathlib.Path, help="where the picture goes; default: standard output")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    try:
        files = [read(path) for path in options.files or newest()]
    except ValueError as error:
        print(f"plot: {error}", file=sys.stderr)
        return 2
    made = table(files) if options.table else picture(files)
    if options.out is None:
        sys.stdout.write(made)
    else:
        options.out.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
