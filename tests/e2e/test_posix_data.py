# SPDX-License-Identifier: Apache-2.0
"""Reads and writes of one mount: appending, holes, large offsets, listings, free space."""
import errno
import mmap
import os
import subprocess

import pytest

from conftest import LONG, MiB, seeded_bytes

FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE = 1, 2
GB = 10**9


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    return folder


def opened(path, flags, mode=0o644):
    """An open descriptor as a file object that closes it."""
    return os.fdopen(os.open(path, flags, mode), "rb", buffering=0)


def raises(code, call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    assert caught.value.errno == code, caught.value


def data_regions(fd):
    """[(begin, end)] by SEEK_DATA and SEEK_HOLE."""
    regions, at, size = [], 0, os.fstat(fd).st_size
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO
            break
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        regions.append((begin, at))
    return regions


def punch_hole(path, offset, length):
    subprocess.run(["fallocate", "--punch-hole", "-o", str(offset), "-l", str(length), path], check=True)


def test_open_flags(here):
    path = here / "file"
    with opened(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY) as f:
        os.write(f.fileno(), b"0123456789")
    raises(errno.EEXIST, opened, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with opened(path, os.O_WRONLY | os.O_APPEND) as f:
        os.lseek(f.fileno(), 0, os.SEEK_SET)
        os.write(f.fileno(), b"ab")
    assert path.read_bytes() == b"0123456789ab"
    with opened(path, os.O_WRONLY | os.O_TRUNC):
        assert path.stat().st_size == 0
    raises(errno.EISDIR, opened, here, os.O_WRONLY)


def test_every_boundary_of_a_block(here):
    """One byte around 4 KiB, 64 KiB and 1 MiB: inline, block, several."""
    for edge in (4096, 65536, 131072, MiB(1)):
        for size in (edge - 1, edge, edge + 1):
            data = seeded_bytes(size, size)
            path = here / str(size)
            path.write_bytes(data)
            assert path.read_bytes() == data, size
            with path.open("r+b") as f:
                f.seek(edge - 2)
                f.write(b"XYZ")
            data = data[:edge - 2] + b"XYZ" + data[edge + 1:]
            assert path.read_bytes() == data, size


def test_truncate_down_and_up_leaves_zeros(here):
    path = here / "file"
    data = seeded_bytes(300_000, 1)
    path.write_bytes(data)
    for down, up in ((200_000, 250_000), (65_536, 70_000), (10, 66_000), (0, 5)):
        os.truncate(path, down)
        os.truncate(path, up)
        expected = data[:down] + bytes(up - down)
        assert path.read_bytes() == expected, (down, up)
        data = expected


def test_random_writes_agree_with_an_array(here):
    import random

    rng, path, model = random.Random(7), here / "file", bytearray()
    with path.open("w+b", buffering=0) as f:
        for step in range(400):
            at, length = rng.randrange(500_000), rng.choice((1, 100, 4096, 65_536, 100_000))
            if step % 10 == 9:
                os.ftruncate(f.fileno(), at)
                model = model[:at] + bytes(max(at - len(model), 0))
            elif step % 4 == 3:
                f.seek(at)
                assert f.read(length) == bytes(model[at:at + length]), step
            else:
                data = rng.randbytes(length)
                f.seek(at)
                f.write(data)
                model += bytes(max(at - len(model), 0))
                model[at:at + length] = data
            if step % 97 == 0:
                os.fsync(f.fileno())
    assert path.read_bytes() == bytes(model)


def test_a_sparse_file_of_100_gb_has_data_at_both_ends(shared, here):
    path = here / "sparse"
    first, last = seeded_bytes(100_000, 1), seeded_bytes(100_000, 2)
    with path.open("wb") as f:
        f.write(first)
        f.seek(100 * GB - len(last))
        f.write(last)
    shared.remount()
    assert path.stat().st_size == 100 * GB
    with path.open("rb") as f:
        assert f.read(len(first)) == first
        assert f.read(1000) == bytes(1000)
        f.seek(50 * GB)
        assert f.read(1000) == bytes(1000)
        f.seek(100 * GB - len(last))
        assert f.read() == last
        regions = data_regions(f.fileno())
    assert len(regions) == 2
    assert regions[0][0] == 0 and len(first) <= regions[0][1] < MiB(1)
    assert 100 * GB - MiB(1) < regions[1][0] <= 100 * GB - len(last) and regions[1][1] == 100 * GB


def test_holes_are_punched(here):
    path = here / "file"
    data = seeded_bytes(MiB(4), 3)
    path.write_bytes(data)
    punch_hole(path, MiB(1), MiB(2))
    punch_hole(path, 1000, 10)
    expected = bytearray(data)
    expected[MiB(1):MiB(3)] = bytes(MiB(2))
    expected[1000:1010] = bytes(10)
    assert path.read_bytes() == bytes(expected)
    with path.open("rb") as f:
        regions = data_regions(f.fileno())
        assert not any(begin < MiB(2) < end for begin, end in regions)
    assert path.stat().st_size == len(data)


def test_fallocate_extends_and_keeps_data(here):
    path = here / "file"
    path.write_bytes(b"data")
    with path.open("r+b") as f:
        os.posix_fallocate(f.fileno(), 0, 1_000_000)
        assert os.fstat(f.fileno()).st_size == 1_000_000
    assert path.read_bytes() == b"data" + bytes(1_000_000 - 4)
    subprocess.run(["fallocate", "--keep-size", "-l", "2000000", path], check=True)
    assert path.stat().st_size == 1_000_000
    subprocess.run(["fallocate", "--zero-range", "-o", "1", "-l", "2", path], check=False)
    assert path.read_bytes()[:4] in (b"d\0\0a", b"data")        # done, or refused and untouched


def test_copy_file_range_copies(here):
    data = seeded_bytes(MiB(3) + 17, 4)
    (here / "one").write_bytes(data)
    with (here / "one").open("rb") as src, (here / "two").open("wb") as dst:
        done = 0
        while done < len(data):
            done += os.copy_file_range(src.fileno(), dst.fileno(), len(data) - done)
    assert (here / "two").read_bytes() == data
    with (here / "one").open("rb") as src, (here / "two").open("r+b") as dst:
        assert os.copy_file_range(src.fileno(), dst.fileno(), 100_000, 5, 1_000_000) == 100_000
    assert (here / "two").read_bytes() == data[:1_000_000] + data[5:100_005] + data[1_100_000:]


def test_statvfs_tells_sizes(shared):
    st = os.statvfs(shared.mnt)
    assert st.f_namemax == 255
    assert 0 < st.f_bavail <= st.f_bfree < st.f_blocks
    assert st.f_files > 0
    text = subprocess.run(["df", "-P", shared.mnt], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert str(shared.mnt) in text


def test_blocks_of_a_file_are_counted(here):
    (here / "file").write_bytes(seeded_bytes(MiB(2), 5))
    assert (here / "file").stat().st_blocks * 512 >= MiB(2)


def test_a_large_folder_lists_while_it_shrinks(shared, here):
    """Every name that is there all the time comes exactly once, whatever goes meanwhile."""
    count = 100_000 if LONG else 10_000
    for i in range(count):
        os.mknod(here / f"name-{i:06}")
    assert len(os.listdir(here)) == count
    seen, doomed = [], {f"name-{i:06}" for i in range(0, count, 3)}
    left = iter(sorted(doomed))
    with os.scandir(here) as entries:
        for n, entry in enumerate(entries):
            seen.append(entry.name)
            if n % 2 == 0 and (name := next(left, None)):
                os.unlink(here / name)
    for name in left:
        os.unlink(here / name)
    kept = {f"name-{i:06}" for i in range(count)} - doomed
    assert len(seen) == len(set(seen)) and kept <= set(seen)
    assert set(os.listdir(here)) == kept
    subprocess.run(["rm", "-r", here], check=True)


# ---- handles that only write pass the kernel's pages by ---------------------------------------------------

def test_who_only_writes_is_seen_by_readers_and_maps(shared, here):
    writer = os.open(here / "f", os.O_WRONLY | os.O_CREAT)
    os.write(writer, b"a" * 10000)
    with opened(here / "f", os.O_RDWR) as other, mmap.mmap(other.fileno(), 8192) as mapped:
        assert os.pread(other.fileno(), 20000, 0) == b"a" * 10000
        mapped[100:110] = b"m" * 10                         # a dirty page, which the next write passes
        os.pwrite(writer, b"w" * 5, 102)
        os.pwrite(writer, b"w" * 100, 5000)
        assert mapped[98:112] == b"aammwwwwwmmmaa" and mapped[4999:5101] == b"a" + b"w" * 100 + b"a"
        assert os.pread(other.fileno(), 14, 98) == b"aammwwwwwmmmaa"
    os.close(writer)
    elsewhere = shared.mnt2 / here.name
    assert (elsewhere / "f").read_bytes()[98:112] == b"aammwwwwwmmmaa"


@pytest.mark.parametrize("how", ["sendfile", "splice", "odd"])
def test_who_only_writes_takes_bytes_of_any_kind(here, tmp_path, how):
    data = seeded_bytes(2 * MiB(1) + 4321, 7)
    (tmp_path / "source").write_bytes(data)
    out, left, step = os.open(here / "f", os.O_WRONLY | os.O_CREAT), len(data), 1
    with open(tmp_path / "source", "rb", buffering=0) as source:
        pipe = os.pipe()
        while left > 0:
            if how == "sendfile":
                left -= os.sendfile(out, source.fileno(), None, left)
            elif how == "splice":
                moved = os.splice(source.fileno(), pipe[1], min(left, 65536))
                left -= moved
                while moved:
                    moved -= os.splice(pipe[0], out, moved)
            else:
                at, step = len(data) - left, step * 3 % 50021
                left -= os.writev(out, [data[at:at + step], data[at + step:at + 2 * step]])
        os.close(pipe[0])
        os.close(pipe[1])
    os.close(out)
    assert (here / "f").read_bytes() == data


def test_a_write_takes_capabilities_and_set_id_bits(here):
    """Also where the kernel does not ask before a write."""
    program = here / "program"
    program.write_bytes(b"1")
    os.chmod(program, 0o6777)
    capability = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)     # cap_net_raw+ep
    os.setxattr(program, "security.capability", capability)
    with opened(program, os.O_WRONLY) as f:
        os.write(f.fileno(), b"2")
    with pytest.raises(OSError) as caught:
        os.getxattr(program, "security.capability")
    assert caught.value.errno == errno.ENODATA
    os.chmod(program, 0o6777)
    with opened(program, os.O_WRONLY | os.O_APPEND) as f:
        subprocess.run(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "echo", "3"], check=True,
                       stdout=f)
    assert os.stat(program).st_mode & 0o7777 == 0o777
    assert program.read_bytes() == b"23\n"
