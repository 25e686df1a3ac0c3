# SPDX-License-Identifier: Apache-2.0
"""Owners, modes, times, links, names, extended attributes: what any program may rely on."""
import ctypes
import errno
import mmap
import os
import signal
import stat
import subprocess
import time

import pytest

from conftest import eventually

libc = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = 0x400, 0x1000
NOBODY = 65534


@pytest.fixture
def here(shared, request):
    """A folder of the test's own on the shared mount, open to all."""
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def renameat2(old, new, flags):
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(new))


def sh(command, **options):
    """Run a shell command; its output. It must succeed."""
    done = subprocess.run(["sh", "-ec", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60, check=False, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def raises(code, call, *args, **options):
    with pytest.raises(OSError) as caught:
        call(*args, **options)
    assert caught.value.errno == code, caught.value


# ---- owners and modes --------------------------------------------------------------------------------

def test_a_new_file_belongs_to_its_caller_and_obeys_umask(here):
    sh("umask 027; touch file; mkdir folder; mkfifo fifo", cwd=here, user=NOBODY, group=NOBODY)
    for name, mode in (("file", 0o640), ("folder", 0o750), ("fifo", 0o640)):
        st = (here / name).stat()
        assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (NOBODY, NOBODY, mode), name


def test_a_setgid_folder_gives_its_group(here):
    folder = here / "folder"
    folder.mkdir()
    os.chown(folder, 0, 1234)
    folder.chmod(0o2777)
    sh("touch file; mkdir sub", cwd=folder, user=NOBODY, group=NOBODY)
    assert (folder / "file").stat().st_gid == 1234
    sub = (folder / "sub").stat()
    assert sub.st_gid == 1234 and sub.st_mode & stat.S_ISGID


def test_a_sticky_folder_protects_the_files_of_others(here):
    folder = here / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    (folder / "of_root").touch()
    sh("touch mine; rm -f of_root 2>/dev/null && exit 1; mv of_root x 2>/dev/null && exit 1; rm mine", cwd=folder,
       user=NOBODY, group=NOBODY)
    assert (folder / "of_root").exists()


def test_a_mode_keeps_others_out(here):
    (here / "secret").write_text("s")
    (here / "secret").chmod(0o600)
    sh("cat secret 2>/dev/null && exit 1; true", cwd=here, user=NOBODY, group=NOBODY)
    sh("chmod 666 secret 2>/dev/null && exit 1; chown 65534 secret 2>/dev/null && exit 1; true", cwd=here,
       user=NOBODY, group=NOBODY)


def test_a_write_by_another_clears_setuid(here):
    program = here / "program"
    program.write_bytes(b"x" * 100)
    for change in ("echo more >>program", "truncate -s 50 program", "fallocate -l 4096 program"):
        program.chmod(0o6777)
        sh(change, cwd=here, user=NOBODY, group=NOBODY)
        assert stat.S_IMODE(program.stat().st_mode) == 0o777, change
    program.chmod(0o6777)
    os.chown(program, 1, 1)
    assert stat.S_IMODE(program.stat().st_mode) == 0o777


# ---- times --------------------------------------------------------------------------------------------

def test_times_are_set_to_the_nanosecond_one_by_one(here):
    path = here / "file"
    path.touch()
    os.utime(path, ns=(1_111_111_111_123_456_789, 2_222_222_222_987_654_321))
    st = path.stat()
    assert (st.st_atime_ns, st.st_mtime_ns) == (1_111_111_111_123_456_789, 2_222_222_222_987_654_321)
    sh("touch -a -d @1000 file", cwd=here)          # the other one is UTIME_OMIT
    st = path.stat()
    assert (st.st_atime_ns, st.st_mtime_ns) == (1000 * 10**9, 2_222_222_222_987_654_321)
    sh("touch -m -d @2000 file", cwd=here)
    st = path.stat()
    assert (st.st_atime_ns, st.st_mtime_ns) == (1000 * 10**9, 2000 * 10**9)
    for before_1970 in (-10**9, -3_999_999_999, -1):
        os.utime(path, ns=(before_1970, 0))
        assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (before_1970, 0)
    os.utime(path, ns=(10**9 * 10**12, 0))          # the year 33658: as late as can be said
    assert path.stat().st_atime_ns == 2**63 - 1


def test_a_file_keeps_its_time_of_birth(here):
    def birth(name):
        return float(sh(f"stat -c %.9W {name}", cwd=here))

    start = time.time()
    (here / "file").touch()
    born = birth("file")
    assert start - 1 < born < time.time() + 1
    (here / "file").write_text("changed")
    os.utime(here / "file", ns=(1, 1))
    os.rename(here / "file", here / "other")
    assert birth("other") == born
    (here / "file").touch()
    os.rename(here / "file", here / "other")
    assert birth("other") > born and birth(".") <= born


def test_a_write_moves_mtime_and_ctime_a_chmod_only_ctime(here):
    path = here / "file"
    path.write_text("1")
    os.utime(path, ns=(0, 0))
    before = path.stat()
    path.chmod(0o600)
    after = path.stat()
    assert after.st_mtime_ns == 0 and after.st_ctime_ns > before.st_ctime_ns
    path.write_text("2")
    assert path.stat().st_mtime_ns > before.st_ctime_ns


def test_what_is_set_on_a_file_that_is_being_written_moves_its_ctime(here):
    with open(here / "file", "wb", buffering=0) as f:
        for call in (lambda: os.utime(f.fileno(), ns=(5, 6)), lambda: os.fchmod(f.fileno(), 0o640)):
            f.write(b"text")
            before = os.fstat(f.fileno()).st_ctime_ns
            time.sleep(0.002)
            call()
            assert os.fstat(f.fileno()).st_ctime_ns > before
    assert os.stat(here / "file").st_mode & 0o777 == 0o640


def atime_moves(path, call):
    """Does the access time of what is at the path move by the call?"""
    before = path.lstat().st_atime_ns
    time.sleep(0.002)
    call()
    return path.lstat().st_atime_ns != before


def test_reading_moves_atime_as_relatime_says(here):
    path, folder, link = here / "file", here / "folder", here / "link"
    path.write_bytes(b"1" * 100_000)
    folder.mkdir()
    (folder / "name").touch()
    link.symlink_to("file")
    for name, read in ((path, path.read_bytes), (folder, lambda: os.listdir(folder)), (link, lambda: os.readlink(link))):
        assert not atime_moves(name, lambda: os.close(os.open(name, os.O_PATH | os.O_NOFOLLOW)))
        assert atime_moves(name, read), name            # the first time after a change
        assert not atime_moves(name, read), name
    path.write_bytes(b"2" * 100_000)
    (folder / "another").touch()
    assert atime_moves(path, path.read_bytes) and atime_moves(folder, lambda: os.listdir(folder))
    yesterday = time.time_ns() - 86_500 * 10**9
    for name in (path, folder):
        os.utime(name, ns=(yesterday, yesterday - 1))   # newer than the last write, older than a day
    path.read_bytes()
    os.listdir(folder)
    assert path.stat().st_atime_ns > yesterday and folder.stat().st_atime_ns > yesterday
    os.utime(path, ns=(5, 5))
    assert path.stat().st_atime_ns == 5                 # whatever reads are still to be told
    assert not atime_moves(path, lambda: os.close(os.open(path, os.O_RDONLY)))
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    assert not atime_moves(path, lambda: os.read(fd, 10))
    os.close(fd)


def test_other_nodes_see_when_a_file_was_read(shared, here):
    other = shared.mnt2 / here.name
    for i in range(20):
        (here / str(i)).write_text("text")
    for i in range(20):
        before = (here / str(i)).stat().st_atime_ns
        (here / str(i)).read_text()
        assert (here / str(i)).stat().st_atime_ns > before
    eventually(lambda: all((other / str(i)).stat().st_atime_ns == (here / str(i)).stat().st_atime_ns
                           for i in range(20)), what="told")


def test_a_map_moves_atime_when_it_is_read(here):
    (here / "file").write_bytes(b"1" * 100_000)
    with (here / "file").open("rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert atime_moves(here / "file", lambda: mapped[50_000])


def test_tar_keeps_times_and_modes(here):
    sh("mkdir in out; for i in 1 2 3; do echo $i >in/$i; touch -d \"2001-02-0$i 04:05:06.789\" in/$i; done;"
       "chmod 751 in/2; ln -s 1 in/link; touch -d 1999-01-01 in; tar -cf all.tar in; tar -xf all.tar -C out", cwd=here)
    for name in ("in", "in/1", "in/2", "in/3"):
        one, two = (here / name).stat(), (here / "out" / name).stat()
        assert (one.st_mode, int(one.st_mtime)) == (two.st_mode, int(two.st_mtime)), name
    assert os.readlink(here / "out/in/link") == "1"


# ---- links and names ----------------------------------------------------------------------------------

def test_hard_links_are_one_inode(here):
    (here / "one").write_text("1")
    os.link(here / "one", here / "two")
    assert (here / "one").stat().st_nlink == 2
    (here / "two").write_text("22")
    assert (here / "one").read_text() == "22"
    assert os.path.samestat((here / "one").stat(), (here / "two").stat())
    (here / "one").unlink()
    assert (here / "two").stat().st_nlink == 1
    (here / "folder").mkdir()
    raises(errno.EPERM, os.link, here / "folder", here / "other")


def test_links_of_a_folder_count_its_folders(here):
    for name in ("a", "b", "c"):
        (here / name).mkdir()
    (here / "file").touch()
    assert here.stat().st_nlink == 5
    (here / "a").rmdir()
    (here / "b").rename(here / "c/b")
    assert (here.stat().st_nlink, (here / "c").stat().st_nlink) == (3, 3)


def test_symlinks_hold_4095_bytes(here):
    for target in ("x", "x" * 4095, "ü/" * 1000):
        os.symlink(target, here / "link")
        assert os.readlink(here / "link") == target
        assert os.lstat(here / "link").st_size == len(target.encode())
        (here / "link").unlink()
    raises(errno.ENAMETOOLONG, os.symlink, "x" * 4096, here / "long")


def test_names_hold_255_bytes_of_anything(here):
    names = [b"n" * 255, "ü".encode() * 127, b" ", b"\n\t", b"\xff\xfe", b"-rf", b"..."]
    for name in names:
        with open(os.fsencode(here) + b"/" + name, "wb") as f:
            f.write(name)
    assert sorted(os.listdir(os.fsencode(here))) == sorted(names)
    for name in names:
        with open(os.fsencode(here) + b"/" + name, "rb") as f:
            assert f.read() == name
    raises(errno.ENAMETOOLONG, (here / ("n" * 256)).touch)


def test_special_files(here):
    os.mkfifo(here / "fifo")
    os.mknod(here / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(here / "plain", stat.S_IFREG | 0o600)
    assert stat.S_ISFIFO((here / "fifo").stat().st_mode)
    assert (here / "null").stat().st_rdev == os.makedev(1, 3)
    (here / "null").write_text("gone")              # the mount of `cairn dev` has -o dev
    assert (here / "plain").stat().st_size == 0
    sh("echo through >fifo & cat fifo", cwd=here)


# ---- rename, unlink -----------------------------------------------------------------------------------

def test_rename_replaces_exchanges_or_refuses(here):
    (here / "a").write_text("a")
    (here / "b").write_text("b")
    raises(errno.EEXIST, renameat2, here / "a", here / "b", RENAME_NOREPLACE)
    renameat2(here / "a", here / "c", RENAME_NOREPLACE)
    renameat2(here / "c", here / "b", RENAME_EXCHANGE)
    assert ((here / "b").read_text(), (here / "c").read_text()) == ("a", "b")
    os.rename(here / "b", here / "c")
    assert (here / "c").read_text() == "a" and not (here / "b").exists()
    raises(errno.ENOENT, renameat2, here / "c", here / "nothing", RENAME_EXCHANGE)


def test_rename_leaves_a_whiteout(shared, here):
    other = shared.mnt2 / here.name
    (here / "f").write_text("f")
    (here / "sub").mkdir()
    assert (other / "f").exists()
    raises(errno.EINVAL, renameat2, here / "f", here / "sub/f", RENAME_WHITEOUT | RENAME_EXCHANGE)
    renameat2(here / "f", here / "sub/f", RENAME_WHITEOUT)
    for folder in (here, other):
        st = (folder / "f").lstat()
        assert stat.S_ISCHR(st.st_mode) and st.st_rdev == 0 and st.st_nlink == 1
        assert (folder / "sub/f").read_text() == "f"
    assert sorted(os.listdir(here)) == ["f", "sub"]


def test_overlayfs_uses_whiteouts_of_the_mount(here):
    for name in ("upper", "work", "merged"):
        (here / name).mkdir()
    sh("mkdir lower && cd lower && mkdir d && touch f g d/x", cwd=here)
    options = f"lowerdir={here}/lower,upperdir={here}/upper,workdir={here}/work"
    done = subprocess.run(["mount", "-t", "overlay", "-o", options, "none", here / "merged"], check=False)
    if done.returncode != 0:
        pytest.skip("overlayfs does not take FUSE as its upper file system here")
    try:
        sh("rm f; mv g h; rm -r d; mkdir d; echo new >d/y", cwd=here / "merged")
        assert sorted(os.listdir(here / "merged")) == ["d", "h"] and os.listdir(here / "merged/d") == ["y"]
    finally:
        subprocess.run(["umount", here / "merged"], check=True)
    assert (here / "upper/f").lstat().st_rdev == 0


# ---- files without names ------------------------------------------------------------------------------

def link_fd(fd, path, by_empty_path=False):
    """linkat(2) of an open descriptor, either way that its page names."""
    if by_empty_path:
        done = libc.linkat(fd, b"", -100, os.fsencode(path), AT_EMPTY_PATH)
    else:
        done = libc.linkat(-100, b"/proc/self/fd/%d" % fd, -100, os.fsencode(path), AT_SYMLINK_FOLLOW)
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))


@pytest.mark.parametrize("by_empty_path", [False, True])
def test_a_file_without_a_name_gets_one(shared, here, by_empty_path):
    other = shared.mnt2 / here.name
    with os.fdopen(os.open(here, os.O_TMPFILE | os.O_RDWR, 0o640), "r+b", buffering=0) as f:
        f.write(b"hello")
        st = os.fstat(f.fileno())
        assert (st.st_nlink, st.st_size, stat.S_IMODE(st.st_mode)) == (0, 5, 0o640)
        assert os.listdir(here) == os.listdir(other) == []
        link_fd(f.fileno(), here / "named", by_empty_path)
        assert (other / "named").read_bytes() == b"hello"
        f.write(b" world")
    assert (other / "named").read_bytes() == b"hello world"
    assert (other / "named").stat().st_nlink == 1 and os.listdir(other) == ["named"]


def test_a_file_without_a_name_ends_with_its_last_close(shared, here):
    def files():
        return os.statvfs(here).f_files - os.statvfs(here).f_ffree

    before = files()
    fd = os.open(here, os.O_TMPFILE | os.O_WRONLY | os.O_EXCL, 0o600)
    os.write(fd, b"x" * 200_000)
    raises(errno.ENOENT, link_fd, fd, here / "no")
    raises(errno.ENOENT, link_fd, fd, here / "no", True)
    os.close(fd)
    eventually(lambda: files() <= before, what="its end")
    raises(errno.EINVAL, os.open, here, os.O_TMPFILE | os.O_RDONLY)


def test_rename_of_folders(here):
    (here / "a/deep/er").mkdir(parents=True)
    (here / "b").mkdir()
    raises(errno.EINVAL, os.rename, here / "a", here / "a/deep/x")
    os.rename(here / "a", here / "b")               # empty: replaced
    (here / "full/sub").mkdir(parents=True)
    raises(errno.ENOTEMPTY, os.rename, here / "b", here / "full")
    (here / "file").touch()
    raises(errno.ENOTDIR, os.rename, here / "b", here / "file")
    raises(errno.EISDIR, os.rename, here / "file", here / "b")
    os.rename(here / "b/deep/er", here / "er")
    assert os.path.samestat((here / "er/..").stat(), here.stat())


def test_an_open_file_outlives_its_name(here):
    path = here / "file"
    path.write_text("old content")
    with path.open() as reader, path.open("r+") as writer:
        path.unlink()
        assert os.fstat(reader.fileno()).st_nlink == 0
        path.write_text("new file")
        writer.seek(0, 2)
        writer.write(" and more")
        writer.flush()
        assert reader.read() == "old content and more"
    assert path.read_text() == "new file"


def test_an_open_file_outlives_a_rename_over_it(here):
    (here / "model").write_text("version 1")
    with (here / "model").open() as reader:
        (here / "new").write_text("version 2")
        os.rename(here / "new", here / "model")
        assert reader.read() == "version 1"
    assert (here / "model").read_text() == "version 2"


def test_errors_of_names(here):
    (here / "file").touch()
    (here / "folder").mkdir()
    (here / "folder/x").touch()
    raises(errno.ENOENT, os.stat, here / "nothing")
    raises(errno.ENOTDIR, os.stat, here / "file/x")
    raises(errno.ENOTEMPTY, os.rmdir, here / "folder")
    raises(errno.EEXIST, os.mkdir, here / "folder")
    raises(errno.EISDIR, os.unlink, here / "folder")
    raises(errno.ENOTDIR, os.rmdir, here / "file")
    os.symlink("loop", here / "loop")
    raises(errno.ELOOP, os.stat, here / "loop")


# ---- extended attributes ------------------------------------------------------------------------------

def test_extended_attributes(here):
    path = here / "file"
    path.touch()
    raises(errno.ENODATA, os.getxattr, path, "user.none")
    os.setxattr(path, "user.small", b"1")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "user.large", b"L" * 65536)
    os.setxattr(path, "trusted.t", b"2")
    assert os.getxattr(path, "user.large") == b"L" * 65536
    assert sorted(os.listxattr(path)) == ["trusted.t", "user.empty", "user.large", "user.small"]
    raises(errno.EEXIST, os.setxattr, path, "user.small", b"3", os.XATTR_CREATE)
    raises(errno.ENODATA, os.setxattr, path, "user.none", b"3", os.XATTR_REPLACE)
    os.setxattr(path, "user.small", b"3", os.XATTR_REPLACE)
    os.removexattr(path, "user.large")
    assert os.getxattr(path, "user.small") == b"3"
    raises(errno.ENODATA, os.getxattr, path, "user.large")
    os.setxattr(here, "user.of_folder", b"x")
    assert os.listxattr(here) == ["user.of_folder"]


def test_a_thousand_extended_attributes(here):
    (here / "file").touch()
    for i in range(1000):
        os.setxattr(here / "file", f"user.{i:04}", str(i).encode())
    assert len(os.listxattr(here / "file")) == 1000
    assert os.getxattr(here / "file", "user.0777") == b"777"


# ---- signals -----------------------------------------------------------------------------------------

def test_signals_that_a_program_handles_end_no_call(here):
    """A timer in Python's own way would be hidden: it repeats what was interrupted."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
    try:
        for _ in range(150):
            os.mkdir(here / "sub")
            fd = os.open(here / "sub/file", os.O_CREAT | os.O_EXCL | os.O_RDWR)
            os.write(fd, bytes(3000))
            os.close(fd)
            os.link(here / "sub/file", here / "link")
            os.rename(here / "link", here / "name")
            assert os.stat(here / "name").st_nlink == 2
            os.statvfs(here)
            os.unlink(here / "name")
            os.unlink(here / "sub/file")
            os.rmdir(here / "sub")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
