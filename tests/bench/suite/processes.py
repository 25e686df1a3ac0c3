# SPDX-License-Identifier: Apache-2.0
"""What the processes of a cluster used: processor time, context switches, memory."""
import os
import pathlib
import resource
import time

TICKS = os.sysconf("SC_CLK_TCK")


def _status_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]), int(fields["RssAnon"].split()[0])


def _switches(pid):
    total = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        total += sum(int(line.split()[1]) for line in status.read_text().splitlines() if "ctxt_switches" in line)
    return total


def _read(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    peak, private = _status_kib(pid)
    return {"cpu_s": time.clock_gettime(~pid << 3 | 2),     # the clock of a process: all threads, in ns
            "user_s": int(fields[11]) / TICKS, "system_s": int(fields[12]) / TICKS,
            "switches": _switches(pid), "peak_kib": peak, "private_kib": private}


def read(folder):
    """{name: (pid, usage)} of the processes whose NAME.pid lies in `folder` (None: none); without those that ended."""
    found = {}
    if not folder:
        return found
    for pid_file in sorted(pathlib.Path(folder).glob("*.pid")):
        try:
            pid = int(pid_file.read_text())
            found[pid_file.stem] = pid, _read(pid)
        except (OSError, ValueError):
            continue
    return found


def forget_peaks(folder):
    """Peak memory begins anew from what each process holds now."""
    for pid_file in pathlib.Path(folder).glob("*.pid"):
        try:
            pathlib.Path(f"/proc/{int(pid_file.read_text())}/clear_refs").write_text("5")
        except (OSError, ValueError):
            continue


def used(before, after):
    """Per process: the times and switches between two readings, memory as it is in the second."""
    costs = {}
    for name, (pid, now) in after.items():
        old_pid, old = before.get(name, (pid, {}))
        old = old if old_pid == pid else {}
        costs[name] = {key: round(value - old.get(key, 0), 6) if not key.endswith("_kib") else value
                       for key, value in now.items()}
    return costs


def of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime, usage.ru_stime


def since(before):
    return [round(now - then, 6) for now, then in zip(of_children(), before)]
