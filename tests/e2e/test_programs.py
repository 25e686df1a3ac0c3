# SPDX-License-Identifier: Apache-2.0
"""Programs that people run: rsync, tar, git, sqlite, dd, mmap, a compiler."""
import mmap
import os
import pathlib
import shutil
import sqlite3
import subprocess

import pytest

from conftest import LONG, MiB, seeded_bytes


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    return folder


def sh(command, cwd, timeout=120):
    """Run a shell command; its output. It must succeed."""
    done = subprocess.run(["sh", "-ec", command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def needs(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {program} here")


def make_tree(folder):
    """A tree with all that rsync -aHAX and tar keep."""
    (folder / "sub/deep").mkdir(parents=True)
    for i, size in enumerate((0, 1, 4096, 65_536, 70_000, MiB(1) + 1)):
        (folder / f"sub/file{i}").write_bytes(seeded_bytes(size, i))
        (folder / f"sub/file{i}").chmod(0o600 + i)
    os.link(folder / "sub/file1", folder / "sub/deep/hard")
    os.symlink("../sub/file2", folder / "link")
    os.mkfifo(folder / "fifo")
    os.chown(folder / "sub/file3", 1000, 1001)
    os.setxattr(folder / "sub/file4", "user.origin", b"here")
    with (folder / "sparse").open("wb") as f:
        f.truncate(MiB(50))
        f.seek(MiB(20))
        f.write(b"island")
    for i, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18 + i, 10**18 + i * 10**9 + 123), follow_symlinks=False)


def test_rsync_copies_all_and_then_finds_nothing_to_do(here, tmp_path):
    needs("rsync")
    make_tree(tmp_path / "tree")
    command = f"rsync -aHAX --itemize-changes --numeric-ids {tmp_path}/tree/ copy/"
    assert "sub/file5" in sh(command, here)
    assert sh(command, here) == ""
    assert sh(command + " --checksum", here) == ""
    assert sh(f"rsync -aHAX --itemize-changes --checksum --numeric-ids copy/ {tmp_path}/back/", here) != ""
    assert sh(f"rsync -aHAX --itemize-changes --checksum --numeric-ids {tmp_path}/tree/ {tmp_path}/back/", here) == ""


def test_tar_in_and_out_finds_no_difference(shared, here, tmp_path):
    make_tree(tmp_path / "tree")
    sh(f"tar --xattrs -cf {tmp_path}/tree.tar -C {tmp_path} tree", here)
    sh(f"tar --xattrs -xpf {tmp_path}/tree.tar --numeric-owner", here)
    assert sh(f"tar -df {tmp_path}/tree.tar", here) == ""
    shared.remount()
    assert sh(f"tar -df {tmp_path}/tree.tar", here) == ""
    sh(f"tar -cf here.tar tree && tar -df here.tar && tar -df here.tar -C {tmp_path}", here)


def test_git_clones_commits_and_is_sound(here, tmp_path):
    needs("git")
    git = "git -c user.name=t -c user.email=t@example.org -c protocol.file.allow=always"
    source = tmp_path / "source"
    source.mkdir()
    for i in range(200):
        (source / f"file{i}").write_bytes(seeded_bytes(200 + 37 * i, i))
    sh(f"git init -q . && {git} add . && {git} commit -qm one", source)
    sh(f"{git} clone -q file://{source} copy", here)
    copy = here / "copy"
    sh("git fsck --full --strict && git status --porcelain | (! grep .)", copy)
    for i in range(5):
        (copy / f"file{i}").write_text(f"changed {i}")
        sh(f"{git} commit -qam change{i}", copy)
    sh(f"git gc -q && git fsck --full && {git} checkout -q HEAD~3 && git diff --exit-code", copy)
    sh(f"git -C {source} pull -q {copy} HEAD && git -C {source} fsck", here)


@pytest.mark.parametrize("journal", ["wal", "delete", "truncate", "persist"])
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


def test_two_processes_share_a_sqlite_database(here):
    worker = ("import sqlite3,sys\ndb=sqlite3.connect('db',timeout=60)\n"
              "for i in range(30):\n with db: db.execute('update t set n=n+1')\n")
    db = sqlite3.connect(here / "db")
    with db:
        db.execute("create table t (n)")
        db.execute("insert into t values (0)")
    db.close()
    workers = [subprocess.Popen(["python3", "-c", worker], cwd=here) for _ in range(3)]
    assert [w.wait(120) for w in workers] == [0, 0, 0]
    db = sqlite3.connect(here / "db")
    assert db.execute("select n from t").fetchone()[0] == 90
    db.close()


def test_dd_direct_and_synced(shared, here, tmp_path):
    (tmp_path / "data").write_bytes(seeded_bytes(MiB(16) + 4096, 5))
    sh(f"dd if={tmp_path}/data of=direct bs=1M oflag=direct conv=notrunc status=none", here)
    sh(f"dd if={tmp_path}/data of=synced bs=64k conv=fsync status=none", here)
    sh(f"dd if={tmp_path}/data of=osync bs=256k oflag=sync status=none", here)
    sh(f"dd if={tmp_path}/data of=odd bs=7777 status=none", here)
    shared.remount()
    for name in ("direct", "synced", "osync", "odd"):
        sh(f"cmp {name} {tmp_path}/data && dd if={name} iflag=direct bs=1M status=none | cmp - {tmp_path}/data", here)


def test_what_a_map_wrote_is_there_after_a_remount(shared, here):
    path, size = here / "mapped", MiB(8)
    model = bytearray(size)
    with path.open("w+b") as f:
        f.truncate(size)
        with mmap.mmap(f.fileno(), size) as m:
            for i in range(200):
                at = (i * 40_961 * 7) % (size - 5000)
                data = seeded_bytes(5000, i)
                m[at:at + 5000] = model[at:at + 5000] = data
            m.flush()
            m[0:5] = model[0:5] = b"after"      # left to munmap
    assert path.read_bytes() == bytes(model)
    shared.remount()
    assert path.read_bytes() == bytes(model)


def test_a_program_built_on_the_mount_runs(here):
    needs("gcc", "make")
    count = 20
    (here / "f.h").write_text("".join(f"int f{i}(void);\n" for i in range(count)))
    for i in range(count):
        (here / f"f{i}.c").write_text(f'#include "f.h"\n#include <stdio.h>\nint f{i}(void) {{ return {i}; }}\n')
    calls = "+".join(f"f{i}()" for i in range(count))
    (here / "main.c").write_text(f'#include <stdio.h>\n#include "f.h"\nint main(void){{printf("%d\\n",{calls});}}\n')
    (here / "Makefile").write_text("prog: $(patsubst %.c,%.o,$(wildcard *.c))\n\tgcc -o $@ $^\n%.o: %.c f.h\n"
                                   "\tgcc -O1 -c -o $@ $<\n")
    sh("make -s -j2", here)
    assert sh("./prog", here) == f"{sum(range(count))}\n"
    assert "up to date" in sh("make", here)


def test_fio_verifies_what_it_wrote(here):
    needs("fio")
    engines = ("psync", "libaio", "mmap") if LONG else ("psync", "mmap")
    for engine in engines:
        direct = int(engine == "libaio")
        sh(f"fio --name=v --filename=file-{engine} --rw=randwrite --bsrange=512-128k --blockalign=512 "
           f"--size={'256M' if LONG else '16M'} --ioengine={engine} --direct={direct} --verify=crc32c "
           "--verify_fatal=1 --randseed=1 --fallocate=none --output-format=terse", here)
        assert pathlib.Path(here / f"file-{engine}").stat().st_size > 0
