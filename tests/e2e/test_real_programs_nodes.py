# SPDX-License-Identifier: Apache-2.0
"""Programs on two nodes that count on each other: locks of data, lock files, jobs in a queue, a build for all."""
import os
import re
import subprocess
import time

import pytest

from conftest import LONG, Job, eventually
from programs import needs, package_folder, sh


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    return folder


def counts_on(text, option):
    """It says that it gets locks, and sees the other's increments."""
    rates = re.findall(r"(\d+) locks/sec", text)
    return len(rates) > 1 and int(rates[-1]) > 0 and (option != "-rw" or "data increment = 2" in text)


@pytest.mark.parametrize("option", ["", "-rw"])
def test_ping_pong_finds_locks_and_data_coherent(shared, here, tmp_path, option):
    """Of ctdb: each byte is locked in turn; with -rw each one's increment of it must show."""
    program = package_folder("ctdb") / "usr/bin/ping_pong"
    files, said = [here / "file", shared.mnt2 / here.name / "file"], [tmp_path / "0", tmp_path / "1"]
    running = []
    for file, output in zip(files, said):
        with output.open("wb") as out:
            running.append(subprocess.Popen([program, *option.split(), file, "3"], stdout=out,
                                            stderr=subprocess.STDOUT))
    try:
        time.sleep(20 if LONG else 0)   # it has no end of its own
        eventually(lambda: all(counts_on(output.read_text(), option) for output in said), what="both count on")
        assert all(process.poll() is None for process in running)
    finally:
        for process in running:
            process.terminate()
            process.wait(30)


def count_up(folder, times):
    """What cron jobs do: read, think, write, under flock(1)'s lock."""
    sh(f"i=0; while [ $i -lt {times} ]; do i=$((i + 1)); flock lock sh -c "
       "'n=$(cat count); echo $((n + 1)) >count.new; mv count.new count; echo $n >>log'; done", folder)


def test_jobs_guarded_by_flock_never_run_at_once(shared, here):
    needs("flock")
    times, there = 300 if LONG else 30, shared.mnt2 / here.name
    (here / "count").write_text("0\n")
    jobs = [Job(count_up, folder, times) for folder in (here, there, here, there)]
    for job in jobs:
        job.join(120)
    assert [job.errno for job in jobs] == [0] * 4
    for folder in (here, there):
        assert int((folder / "count").read_text()) == 4 * times
        assert [int(n) for n in (folder / "log").read_text().split()] == list(range(4 * times))


def take(folder, who, how):
    """Take jobs of a queue until it is empty, as schedulers do: by a lock file, or by who renames the job first."""
    for job in sorted(os.listdir(folder / "queue")):
        try:
            if how == "O_EXCL":
                os.close(os.open(folder / "locks" / job, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            elif how == "link":
                mine = folder / f"host-{who}"
                mine.write_text(str(who))
                os.link(mine, folder / "locks" / job)
                assert mine.stat().st_nlink == 2
                mine.unlink()
            elif how == "mkdir":
                os.mkdir(folder / "locks" / job)
            elif how == "symlink":
                os.symlink(str(who), folder / "locks" / job)
            else:
                os.rename(folder / "queue" / job, folder / "locks" / f"{job}.{who}")
        except (FileExistsError, FileNotFoundError):
            continue
        with (folder / "done").open("a") as f:
            f.write(f"{job} {who}\n")


@pytest.mark.parametrize("how", ["O_EXCL", "link", "mkdir", "symlink", "rename"])
def test_each_job_of_a_queue_is_taken_once(shared, here, how):
    count, there = 1000 if LONG else 100, shared.mnt2 / here.name
    (here / "queue").mkdir()
    (here / "locks").mkdir()
    for i in range(count):
        (here / f"queue/{i:04}").write_text(f"job {i}")
    workers = [Job(take, folder, who, how) for who, folder in enumerate((here, there, here, there))]
    for worker in workers:
        worker.join(120)
    assert [worker.errno for worker in workers] == [0] * 4
    done = [line.split()[0] for line in (there / "done").read_text().splitlines()]
    assert sorted(done) == [f"{i:04}" for i in range(count)]


def test_what_one_node_builds_the_other_finds_up_to_date(shared, here):
    needs("gcc", "make")
    count, there = 12, shared.mnt2 / here.name
    names = [f"f{i}" for i in range(count)]
    for name in names:
        (here / f"{name}.c").write_text(f'#include "all.h"\nint {name}(void) {{ return VALUE; }}\n')
    (here / "all.h").write_text("#define VALUE 1\n")
    (here / "main.c").write_text("".join(f"int {name}(void);\n" for name in names) + "int main(void) { return "
                                 + " + ".join(f"{name}()" for name in names) + "; }\n")
    (here / "Makefile").write_text("prog: $(patsubst %.c,%.o,$(wildcard *.c))\n\tgcc -o $@ $^\n"
                                   "%.o: %.c all.h\n\tgcc -c -o $@ $<\n")
    sh("make -s -j2", here)
    assert "up to date" in sh("make", there)
    (there / "all.h").write_text("#define VALUE 2\n")
    sh("make -s -j2 -q && exit 1; make -s -j2", here)
    assert "up to date" in sh("make", there)
    assert subprocess.run([there / "prog"], check=False).returncode == 2 * count
