# SPDX-License-Identifier: Apache-2.0
"""SQLite in each of its journal modes, on one node and on two; PostgreSQL through a crash."""
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess

import pytest

from conftest import LONG, Job, eventually, seeded_bytes
from programs import package_folder

NOBODY = 65534


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    return folder


# ---- SQLite ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("journal", ["wal", "delete", "truncate", "persist", "memory", "off"])
def test_sqlite_keeps_its_promises(shared, here, journal):
    path = here / "db"
    db = sqlite3.connect(path, timeout=30)
    assert db.execute(f"pragma journal_mode={journal}").fetchone()[0] == journal
    db.execute("create table t (id integer primary key, value blob)")
    for round_ in range(10):
        with db:
            db.executemany("insert into t (value) values (?)", [(seeded_bytes(500, i),) for i in range(100)])
        with db:
            db.execute("update t set value = ? where id % 7 = ?", (bytes(3000), round_ % 7))
        if journal == "off":
            continue                # it cannot take back
        try:
            with db:
                db.execute("delete from t")
                raise InterruptedError
        except InterruptedError:
            pass
    other = sqlite3.connect(path, timeout=30)
    assert other.execute("select count(*) from t").fetchone()[0] == 1000
    other.close()
    db.close()
    shared.remount()
    db = sqlite3.connect(path)
    assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
    assert db.execute("select count(*) from t").fetchone()[0] == 1000
    db.close()


def sqlite_writer(path, who, rows):
    """Count a number up and write down what it was, in one transaction; deletes make pages move."""
    db = sqlite3.connect(path, timeout=120, isolation_level=None)
    for i in range(rows):
        db.execute("begin immediate")
        n = db.execute("select n from counter").fetchone()[0]
        db.execute("update counter set n = ?", (n + 1,))
        db.execute("insert into t values (?, ?, ?)", (n, who, seeded_bytes(200 + 40 * (n % 50), n)))
        if i % 5 == 4:
            db.execute("delete from junk where rowid = (select min(rowid) from junk)")
        db.execute("insert into junk values (?)", (bytes(1500),))
        db.execute("commit")
    db.close()


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist"])
def test_two_nodes_write_one_sqlite_database(shared, here, journal):
    rows = 200 if LONG else 25
    there = shared.mnt2 / here.name
    db = sqlite3.connect(here / "db")
    db.execute(f"pragma journal_mode={journal}")
    with db:
        db.execute("create table counter (n)")
        db.execute("create table t (n integer primary key, who, value)")
        db.execute("create table junk (value)")
        db.execute("insert into counter values (0)")
    db.close()
    writers = [(here, 0), (there, 1), (there, 2)]
    jobs = [Job(sqlite_writer, folder / "db", who, rows) for folder, who in writers]
    for job in jobs:
        job.join(240)
    assert [job.errno for job in jobs] == [0] * len(jobs)
    for folder in (here, there):
        db = sqlite3.connect(folder / "db", timeout=30)
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
        assert db.execute("select n from counter").fetchone()[0] == len(writers) * rows
        found = db.execute("select n, value from t order by n").fetchall()
        assert [n for n, _ in found] == list(range(len(writers) * rows))
        assert all(value == seeded_bytes(200 + 40 * (n % 50), n) for n, value in found)
        assert db.execute("select who, count(*) from t group by who").fetchall() == [(w, rows) for _, w in writers]
        db.close()


# ---- PostgreSQL --------------------------------------------------------------------------------------

POSTGRES_PACKAGES = ("postgresql-15", "postgresql-client-15", "libpq5")


# Temporary folders are their owner's only: the mount is seen elsewhere by those whom this starts, and by nobody else.
AS_NOBODY = 'mount --bind "$1" "$2"; shift 2; exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"'


class Postgres:
    """A server of its own in a folder on the mount, run as nobody, who knows that folder as at/db."""

    def __init__(self, folder, at):
        self.folder, self.at, self.place, self.data = folder, at, at / "db", at / "db/data"
        self.place.mkdir()
        self.env = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self.bin = self.installed() or self.unpacked()
        for mine in (folder, at):
            os.chown(mine, NOBODY, NOBODY)

    @staticmethod
    def installed():
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        return found[-1].parent if found else None

    def unpacked(self):
        """Onto the mount itself."""
        for package in POSTGRES_PACKAGES:
            shutil.copytree(package_folder(package), self.folder / "software", symlinks=True, dirs_exist_ok=True)
        library = next(self.folder.glob("software/usr/lib/*/libpq.so.5")).relative_to(self.folder)
        self.env["LD_LIBRARY_PATH"] = str(self.place / library.parent)
        initdb = next(self.folder.glob("software/usr/lib/postgresql/*/bin/initdb")).relative_to(self.folder)
        self.bin = self.place / initdb.parent
        if "PostgreSQL" not in self.run("postgres", "--version", check=False):
            pytest.skip("PostgreSQL does not run here: a library of it is missing")
        return self.bin

    def start_of(self, program, *args):
        return subprocess.Popen(["unshare", "-m", "sh", "-ec", AS_NOBODY, "sh", self.folder, self.place,
                                 self.bin / program, *args], cwd="/", env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ask(self, program, *args):
        return self.start_of(program, "-h", self.at, "-U", "nobody", *args)

    def run(self, program, *args, check=True):
        return self.end_of(self.start_of(program, *args), check)

    @staticmethod
    def end_of(process, check=True):
        try:
            output = process.communicate(timeout=150)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert not check or process.returncode == 0, f"{process.args}: {output}"
        return output

    def sql(self, command):
        return self.end_of(self.ask("psql", "-XAtc", command, "postgres")).strip()

    def start(self):
        # A log that is not its standard output: else it would keep our pipe.
        self.run("pg_ctl", "-w", "-t", "120", "-D", self.data, "-l", self.at / "log", "start")

    def stop(self, mode):
        self.run("pg_ctl", "-w", "-t", "120", "-D", self.data, "-m", mode, "stop")


@pytest.fixture
def postgres(here):
    at = pathlib.Path(f"/tmp/cairn-pg-{os.getpid()}")       # short, since it has the socket, and open to nobody
    at.mkdir()
    try:
        server = Postgres(here, at)
        yield server
        if (here / "data/postmaster.pid").exists():
            server.stop("immediate")
    finally:
        shutil.rmtree(at, ignore_errors=True)


def test_postgresql_loses_no_commit_when_it_crashes(here, postgres):
    pg = postgres
    pg.run("initdb", "-D", pg.data, "--no-locale", "-A", "trust", "-U", "nobody", "--data-checksums", "--no-sync")
    with (here / "data/postgresql.conf").open("a") as f:
        f.write(f"listen_addresses=''\nunix_socket_directories='{pg.at}'\nshared_buffers=16MB\n"
                "autovacuum=off\ncheckpoint_timeout=30s\n")
    pg.start()
    pg.end_of(pg.ask("pgbench", "-i", "-q", "-s", "3" if LONG else "1", "postgres"))
    acknowledged = 0
    for _ in range(5 if LONG else 1):
        before = int(pg.sql("select count(*) from pgbench_history"))
        bench = pg.ask("pgbench", "-n", "-c", "4", "-T", "120", "postgres")
        eventually(lambda: int(pg.sql("select count(*) from pgbench_history")) > before + (1000 if LONG else 100), 90)
        pg.stop("immediate")
        output = bench.communicate(timeout=60)[0]
        acknowledged += int(re.search(r"actually processed: (\d+)", output)[1])
        pg.start()
        assert acknowledged <= int(pg.sql("select count(*) from pgbench_history"))
    pg.sql("create extension amcheck")
    pg.end_of(pg.ask("pg_amcheck", "--heapallindexed", "--parent-check", "postgres"))
    sums = pg.sql("select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), "
                  "(select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)").split("|")
    assert len(set(sums)) == 1, sums
    pg.stop("fast")
    assert re.search(r"Bad checksums: +0", pg.run("pg_checksums", "-D", pg.data))
