# SPDX-License-Identifier: Apache-2.0
"""The recorded table, tests/bench/recorded.json: what later runs are compared with, and README.md shows."""
import json
import pathlib

BENCH = pathlib.Path(__file__).resolve().parents[1]
FILE = BENCH / "recorded.json"
README = BENCH / "README.md"
BEGIN, END = "<!-- recorded figures: written by `run --record` -->\n", "<!-- end of recorded figures -->\n"
NOISE_MIN = 0.1         # of the recorded median; the spread of the repetitions, where that is more


class Recorded:
    def __init__(self, heading):
        """`heading` of this run: figures of another machine or other sizes say nothing about it."""
        self.rows, self.why_not = {}, None
        if not FILE.exists():
            self.why_not = "no figures are recorded"
            return
        known = json.loads(FILE.read_text())
        differs = [key for key in ("machine", "sizes") if known[key] != heading[key]]
        if differs:
            self.why_not = f"the recorded figures are of another {' and other '.join(differs)}"
        else:
            self.rows = known["rows"]

    def change(self, key, place, figure):
        """(change of the median as a fraction, whether it is more than noise); None: nothing to compare with."""
        old = self.rows.get(key, {}).get(place)
        if not old or not old["median"] or not figure:
            return None
        change = figure["median"] / old["median"] - 1
        noise = max(NOISE_MIN, *((f["high"] - f["low"]) / f["median"] for f in (old, figure) if f["median"]))
        return change, abs(change) > noise


def write(heading, rows, table, packages):
    FILE.write_text(json.dumps({**heading, "rows": rows, "packages": packages}, indent=1, sort_keys=True) + "\n")
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    if rest:
        _, _, after = rest.partition(END)
        README.write_text(before + BEGIN + table + END + after)
