# SPDX-License-Identifier: Apache-2.0
"""Samples as they come (each a JSON line on disk at once), and what they come to."""
import json
import statistics
import time

from suite.rows import ROWS

UNITS = {row.name: row.unit for row in ROWS}
SCALES = {"MB/s": 1e6, "GB/s": 1e9, "/s": 1}


def value_of(unit, count, seconds):
    return seconds if unit == "s" else count / seconds / SCALES[unit]


class Results:
    def __init__(self, path, heading):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.out = path, path.open("w")
        self.samples, self.failures, self.peaks = {}, {}, {}
        self.matrix = []                # weights.py: what each aim makes of each package
        self.has_errors = False
        self._write(heading)

    def _write(self, line):
        json.dump(line, self.out, sort_keys=True)
        self.out.write("\n")
        self.out.flush()

    def add(self, name, place, value, **details):
        sample = {"row": name, "place": place, "value": value, "unit": UNITS[name], "time": time.time(), **details}
        self.samples.setdefault((name, place), []).append(sample)
        for process, used in details.get("processes", {}).items():
            peak = self.peaks.setdefault((place, process), {"peak_kib": 0, "private_kib": 0})
            for key in peak:
                peak[key] = max(peak[key], used[key])
        self._write(sample)

    def fail(self, names, place, why, is_error=True):
        """There will be no figure; an error is one that nothing here explains."""
        self.has_errors = self.has_errors or is_error
        for name in names:
            self.failures.setdefault((name, place), why)
        self._write({"rows": names, "place": place, "failure": why, "time": time.time()})

    def figure(self, name, place):
        """Median and spread, and what a unit of work cost the cluster; None: there is no sample."""
        samples = self.samples.get((name, place))
        if not samples:
            return None
        values = [s["value"] for s in samples]
        figure = {"median": statistics.median(values), "low": min(values), "high": max(values)}
        costs = [s for s in samples if s.get("processes")]
        if costs:
            figure["cpu_s"] = statistics.median(total(s, "cpu_s") / s["count"] for s in costs)
            figure["switches"] = statistics.median(total(s, "switches") / s["count"] for s in costs)
            figure["peak_kib"] = {process: max(s["processes"].get(process, {}).get("peak_kib", 0) for s in costs)
                                  for process in costs[0]["processes"]}
        return figure


def total(sample, key):
    return sum(process[key] for process in sample["processes"].values())
