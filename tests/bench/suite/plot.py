# SPDX-License-Identifier: Apache-2.0
"""One picture per group: a panel for each row, in its own unit, its target as a line. gnuplot draws."""
import math
import shutil
import subprocess

from suite import table
from suite.rows import LESS_IS_BETTER

COLORS = ["#2a6f97", "#b5b5b5", "#8d99ae", "#d4a373"]       # cairn, the local file system, others
TARGET = "#c1121f"
COLUMNS = 4
PANEL = 300, 270
CLIP = 3.0              # a bar that is more than so many times ours and the target is cut off


def is_possible():
    return shutil.which("gnuplot") is not None


def quoted(text):
    return '"' + text.replace("\\", "").replace('"', "") + '"'


def top_of(line, limit, values):
    ours = max([v for v in (line.value, limit) if v is not None])
    return 1.25 * min(max(values + [ours]), CLIP * ours) or 1


def panel(line, names):
    """The commands for one row."""
    bars = [(name, figure) for name, figure in zip(names, [line.figure, *line.others.values()]) if figure]
    limit = line.row.target.limit(line.local_value) if line.row.target else None
    top = top_of(line, limit, [figure["median"] for _, figure in bars])
    margin = 1.2 if len(bars) == 1 else 0.7
    better = "less" if line.row.unit in LESS_IS_BETTER else "more"
    out = [f"set title {quoted(line.row.title)} font ',9'",
           f"set ylabel {quoted(f'{line.row.unit} ({better} is better)')} font ',8' offset 1",
           f"set yrange [0:{top}]", f"set xrange [{-margin}:{len(bars) - 1 + margin}]", "unset label", "unset arrow",
           "set xtics (" + ", ".join(f"{quoted(name)} {i}" for i, (name, _) in enumerate(bars)) + ") font ',8'"]
    for i, (_, figure) in enumerate(bars):
        is_cut = figure["median"] > top
        at = 0.95 * top if is_cut else min(figure["high"], 0.9 * top) + 0.035 * top
        out.append(f"set label {quoted(table.number(figure['median']) + (' (cut)' if is_cut else ''))} at {i},{at} "
                   "center front font ',8'")
    if limit is not None:
        out.append(f"set arrow from graph 0,first {limit} to graph 1,first {limit} nohead front dt 2 lw 1.5 "
                   f"lc rgb '{TARGET}'")
    out.append("plot '-' using 1:2:3 with boxes lc rgb variable notitle, '-' using 1:2:(0):3 with vectors nohead "
               "lw 1.5 lc rgb '#333333' notitle")
    out += [f"{i} {min(figure['median'], top)} {int(color[1:], 16)}"
            for i, ((_, figure), color) in enumerate(zip(bars, COLORS))] + ["e"]
    out += [f"{i} {figure['low']} {figure['high'] - figure['low']}" for i, (_, figure) in enumerate(bars)] + ["e"]
    return out


def draw(path, title, lines, other_names):
    """False: gnuplot did not make it."""
    lines = [line for line in lines if line.value is not None]
    if not lines:
        return False
    columns = min(COLUMNS, len(lines))
    rows = math.ceil(len(lines) / columns)
    script = [f"set terminal pngcairo size {columns * PANEL[0]},{rows * PANEL[1] + 50} font 'sans,10'",
              f"set output {quoted(str(path))}", "set style fill solid 1.0 noborder", "set boxwidth 0.6",
              "set grid ytics lc rgb '#e6e6e6'", "set border 3", "set xtics nomirror", "set ytics nomirror font ',8'",
              "set format y '%g'",
              f"set multiplot layout {rows},{columns} title {quoted(title + ' (dashed: target)')} font ',12'"]
    for line in lines:
        script += panel(line, ["cairn", *other_names])
    done = subprocess.run(["gnuplot"], input="\n".join([*script, "unset multiplot", ""]), text=True,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode:
        print(f"gnuplot: {done.stderr.strip()[-300:]}")
    return done.returncode == 0
