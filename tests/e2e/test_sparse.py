# SPDX-License-Identifier: Apache-2.0
"""Holes: what they save is seen by every program, at once on the node that writes, and elsewhere.

A hole is a range of whole entries of a manifest, so data comes in blocks of 64 KiB.
"""

import json
import os
import subprocess

import pytest

from conftest import MiB, seeded_bytes

pytestmark = pytest.mark.usefixtures("here")
BLOCK = 64 * 1024


def data_bytes(path):
    st = os.stat(path)
    return st.st_blocks * 512


def data_regions_bytes(path):
    """What SEEK_DATA and SEEK_HOLE say is data."""
    total, at = 0, 0
    with open(path, "rb", buffering=0) as f:
        size = os.fstat(f.fileno()).st_size
        while at < size:
            try:
                begin = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(f.fileno(), begin, os.SEEK_HOLE)
            total += at - begin
    return total


def du(path):
    text = subprocess.run(["du", "-B1", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(text.split()[0])


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name
    folder.mkdir()
    return folder


def make_sparse(path):
    """Two blocks of data in 64 MiB."""
    with open(path, "wb") as f:
        f.write(seeded_bytes(BLOCK, 1))
        f.seek(MiB(40))
        f.write(seeded_bytes(BLOCK, 2))
        f.truncate(MiB(64))


def test_du_and_ls_see_holes(here):
    path = here / "sparse"
    make_sparse(path)
    assert path.stat().st_size == MiB(64)
    assert data_bytes(path) == du(path) == data_regions_bytes(path) == 2 * BLOCK
    text = subprocess.run(["ls", "-s", "--block-size=1", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert int(text.split()[0]) == 2 * BLOCK


def test_holes_are_seen_before_the_file_is_published(here):
    with open(here / "open", "wb", buffering=0) as f:
        os.ftruncate(f.fileno(), MiB(32))
        assert os.fstat(f.fileno()).st_blocks == 0
        os.pwrite(f.fileno(), b"x" * BLOCK, MiB(3))
        assert os.fstat(f.fileno()).st_blocks * 512 == BLOCK
        os.pwrite(f.fileno(), b"y" * 100, MiB(3) + 7)
        assert os.fstat(f.fileno()).st_blocks * 512 == BLOCK
        os.fsync(f.fileno())
        os.pwrite(f.fileno(), b"z" * 100, MiB(3) + 7)
        assert os.fstat(f.fileno()).st_blocks * 512 == BLOCK
    assert data_bytes(here / "open") == data_regions_bytes(here / "open") == BLOCK


def test_every_edit_counts(here):
    path = here / "edited"
    path.write_bytes(seeded_bytes(64 * BLOCK, 3))
    assert data_bytes(path) == 64 * BLOCK
    subprocess.run(["fallocate", "-p", "-o", str(8 * BLOCK), "-l", str(16 * BLOCK), path], check=True)
    assert data_bytes(path) == data_regions_bytes(path) == 48 * BLOCK
    os.truncate(path, 32 * BLOCK + 100)
    assert data_bytes(path) == data_regions_bytes(path) // 512 * 512 + 512
    os.truncate(path, 32 * BLOCK)
    with open(path, "r+b") as f:
        f.seek(10 * BLOCK)
        f.write(b"a" * BLOCK)
    assert data_bytes(path) == data_regions_bytes(path) == 17 * BLOCK
    os.truncate(path, 0)
    assert data_bytes(path) == 0


def test_small_files_count_what_they_hold(here):
    (here / "small").write_bytes(b"x" * 1000)
    assert (here / "small").stat().st_blocks == 2
    (here / "none").touch()
    assert (here / "none").stat().st_blocks == 0


def test_programs_keep_holes(here, tmp_path):
    path = here / "sparse"
    make_sparse(path)
    subprocess.run(["cp", "--sparse=always", path, here / "again"], check=True)
    assert data_bytes(here / "again") == 2 * BLOCK
    subprocess.run(["cp", "--reflink=auto", path, here / "copied"], check=True)
    assert data_bytes(here / "copied") == 2 * BLOCK
    subprocess.run(["tar", "-S", "-cf", tmp_path / "a.tar", "-C", here, "sparse"], check=True)
    assert (tmp_path / "a.tar").stat().st_size < MiB(1)
    (here / "out").mkdir()
    subprocess.run(["tar", "-S", "-xf", tmp_path / "a.tar", "-C", here / "out"], check=True)
    assert data_bytes(here / "out" / "sparse") == 2 * BLOCK
    for copy in ("again", "copied", "out/sparse"):
        subprocess.run(["cmp", path, here / copy], check=True)


def test_cp_shares_blocks_and_a_reflink_is_refused(shared, here):
    """FICLONE never comes to us; the manual says what does the same."""
    (here / "from").write_bytes(seeded_bytes(MiB(2), 5))
    done = subprocess.run(["cp", "--reflink=always", here / "from", here / "to"], stderr=subprocess.PIPE, text=True,
                          check=False, env=dict(os.environ, LC_ALL="C"))
    assert done.returncode == 1 and "Operation not supported" in done.stderr, done
    subprocess.run(["cp", here / "from", here / "to"], check=True)
    one, two = json.loads(shared.cairn("stat", "--json", here / "from", here / "to", check=False).stdout)
    assert one["root"] == two["root"] and one["bytes_plain"] == MiB(2)


def test_a_copied_range_counts_in_its_file(here):
    make_sparse(here / "from")
    with open(here / "from", "rb") as source, open(here / "to", "wb") as target:
        os.copy_file_range(source.fileno(), target.fileno(), BLOCK, MiB(40), MiB(8))
    assert data_bytes(here / "to") == data_regions_bytes(here / "to") == BLOCK


def test_the_count_outlives_a_restart_and_proves(shared, here):
    make_sparse(here / "sparse")
    shared.restart_all()
    assert data_bytes(here / "sparse") == 2 * BLOCK
    shared.down()
    assert shared.fsck().returncode == 0
    shared.up()
