# SPDX-License-Identifier: Apache-2.0
"""Programs that move bytes in and out: rsync, tar, git, dd, mmap, a compiler; with every cache."""
import mmap
import os

import pytest

from conftest import MiB, seeded_bytes
from programs import make_tree, needs, sh


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    return folder


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
