# SPDX-License-Identifier: Apache-2.0
"""The figures as a table: on the terminal, and as Markdown for README.md."""
from suite.rows import ALONE, GROUPS, LESS_IS_BETTER, ROWS

PER_BYTE = {"s", "MB/s", "GB/s", "x"}       # units of rows whose work is counted in bytes


def number(value):
    if value is None:
        return "-"
    for bound, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= bound:
            return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def processor(row, figure):
    if not figure or "cpu_s" not in figure:
        return ""
    if row.unit in PER_BYTE:
        return f"{figure['cpu_s'] * 2**30:.2f} s/GiB"
    return f"{figure['cpu_s'] * 1e6:,.0f} us"


def switches(row, figure):
    if not figure or "switches" not in figure:
        return ""
    if row.unit in PER_BYTE:
        return f"{figure['switches'] * 2**20:.1f}/MiB"
    return f"{figure['switches']:.1f}"


def peak(figure):
    """The largest process."""
    if not figure or not figure.get("peak_kib"):
        return ""
    process, kib = max(figure["peak_kib"].items(), key=lambda item: item[1])
    return f"{process} {kib // 1024}"


class Line:
    """One row with all that is said about it."""

    def __init__(self, row, results, places, recorded):
        ours = ALONE if row.tiers == ALONE else f"cairn-{row.tiers}"
        locals_ = [] if row.tiers == ALONE else [p.name for p in places if p.tiers is None]
        self.row, self.place = row, ours
        self.figure = results.figure(row.name, ours)
        self.others = {name: results.figure(row.name, name) for name in locals_}
        self.why_not = results.failures.get((row.name, ours))
        self.local = next(iter(self.others.values()), None)
        self.value = self.figure["median"] if self.figure else None
        self.local_value = self.local["median"] if self.local else None
        self.is_met = row.target.is_met(self.value, self.local_value, row.unit) if row.target else None
        self.change = recorded.change(row.key, "cairn", self.figure)

    @property
    def ratio(self):
        if self.row.unit in ("x", "%"):     # they are ratios themselves
            return None
        return self.value / self.local_value if self.value and self.local_value else None

    @property
    def is_worse(self):
        if not self.change or not self.change[1]:
            return False
        return (self.change[0] > 0) == (self.row.unit in LESS_IS_BETTER)

    def verdict(self):
        return {True: "yes", False: "no", None: ""}[self.is_met]

    def change_text(self):
        if not self.change:
            return ""
        return f"{self.change[0]:+.0%}" + (" WORSE" if self.is_worse else "")

    def spread(self):
        if not self.figure or not self.value or self.figure["low"] == self.figure["high"]:
            return ""
        return f"{(self.figure['high'] - self.figure['low']) / self.value / 2:.0%}"

    def record(self):
        kept = {"cairn": self.figure}
        if self.local:
            kept["local"] = self.local
        return kept


HEADS = ["", "tiers", "unit", "cairn", "+-", "ratio", "target", "met", "processor", "switches", "peak MiB", "recorded"]
LEFT = {0, 1, 2}
OTHERS_AT = 5           # columns of the other places stand before the ratio


def cells(line, local_name):
    row = line.row
    return [row.title, "" if row.tiers == ALONE else row.tiers, row.unit, number(line.value), line.spread(),
            *(number(other["median"] if other else None) for other in line.others.values()),
            number(line.ratio) if line.ratio else "", row.target.text(row.unit, local_name) if row.target else "",
            line.verdict(), processor(row, line.figure), switches(row, line.figure), peak(line.figure),
            line.change_text()]


def grouped(lines):
    for group, title in GROUPS.items():
        members = [line for line in lines if line.row.group == group]
        if members:
            yield group, title, members


def text(lines, other_names):
    """For the terminal; what was not measured says why."""
    heads = HEADS[:OTHERS_AT] + other_names + HEADS[OTHERS_AT:]
    table = {line.row.key: pad(cells(line, other_names[0]), len(heads)) for line in lines}
    widths = [max(map(len, column)) for column in zip(heads, *table.values())]
    out = []
    for _, title, members in grouped(lines):
        out += ["", laid_out([title[:widths[0]].ljust(widths[0]), *heads[1:]] if len(title) <= widths[0] else heads,
                             widths)]
        for line in members:
            if line.value is None and line.why_not:
                out.append(f"{line.row.title:{widths[0]}}  not available: {line.why_not}")
            else:
                out.append(laid_out(table[line.row.key], widths))
    return "\n".join(out)


def memory(peaks):
    """Of each process over all rows, one line for each cluster."""
    out = []
    for place in sorted({place for place, _ in peaks}):
        used = ", ".join(f"{process} {kib['peak_kib'] >> 10} ({kib['private_kib'] >> 10})"
                         for (where, process), kib in sorted(peaks.items()) if where == place)
        out.append(f"{place}: peak memory in MiB, and private: {used}")
    return "\n".join(["", *out])


def pad(row, count):
    """Rows without a mount have nobody beside them."""
    return row[:OTHERS_AT] + [""] * (count - len(row)) + row[OTHERS_AT:]


def laid_out(row, widths):
    return "  ".join(cell.ljust(width) if i in LEFT else cell.rjust(width)
                     for i, (cell, width) in enumerate(zip(row, widths))).rstrip()


def markdown(lines, heading, local_name):
    machine, sizes = heading["machine"], heading["sizes"]
    out = [f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}; "
           f"{heading['date']}; `{heading['command']}`: {sizes['mib']:,} MiB, {sizes['files']:,} files, medians of "
           f"{heading['times']}.", ""]
    for _, title, members in grouped(lines):
        out += [f"| {title} | tiers | target | cairn | {local_name} | ratio | processor | peak MiB |",
                "|---|---|---|---|---|---|---|---|"]
        for line in members:
            target = line.row.target.text(line.row.unit, local_name) if line.row.target else ""
            value = f"{number(line.value)} {line.row.unit}" if line.value is not None else "not available"
            out.append("| " + " | ".join([
                line.row.title, "" if line.row.tiers == ALONE else line.row.tiers, target,
                f"**{value}**" if line.is_met else value, number(line.local_value) if line.local else "",
                number(line.ratio) if line.ratio else "", processor(line.row, line.figure), peak(line.figure)]) + " |")
        out.append("")
    return "\n".join(out)


def lines_of(results, places, recorded, wanted):
    return [Line(row, results, places, recorded) for row in ROWS if row in wanted]
