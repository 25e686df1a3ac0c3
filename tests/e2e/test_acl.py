# SPDX-License-Identifier: Apache-2.0
"""POSIX ACLs: what ext4 makes of them, judged on a second mount; and what it costs to have none."""
import errno
import os
import shutil
import stat
import struct
import subprocess

import pytest

from conftest import Cluster, Job, on_loop_disk, running
from test_permissions import GROUP, OTHER, OWNER, PEOPLE, SECOND, as_each, become, compare

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
TAGS = {"u:": 1, "u": 2, "g:": 4, "g": 8, "m": 16, "o": 32}


def acl(*entries):
    """("u:", 7), ("u", 1000, 7) ... as the kernel takes them."""
    out = struct.pack("<I", 2)
    for tag, *rest in entries:
        out += struct.pack("<HHI", TAGS[tag], rest[-1], rest[0] if len(rest) == 2 else 0xffffffff)
    return out


MINIMAL = acl(("u:", 6), ("g:", 4), ("o", 0))
NAMED = acl(("u:", 6), ("u", OTHER, 7), ("g:", 0), ("g", SECOND, 4), ("m", 5), ("o", 1))
MASKED = acl(("u:", 7), ("g:", 7), ("m", 1), ("o", 0))
CLOSED = acl(("u:", 0), ("u", OWNER, 7), ("u", OTHER, 0), ("g:", 6), ("m", 7), ("o", 7))
LISTS = {"minimal": MINIMAL, "named": NAMED, "masked": MASKED, "closed": CLOSED}


@pytest.fixture(scope="module")
def ext4(tmp_path_factory):
    with on_loop_disk(tmp_path_factory.mktemp("ext4"), "disk", 64) as folder:
        yield folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running(Cluster(tmp_path_factory.mktemp("acl") / "cluster", mounts=2, acl=True)) as cluster:
        yield cluster


def look(path):
    st = os.lstat(path)
    lists = {}
    for name in (ACCESS, DEFAULT):
        try:
            lists[name] = os.getxattr(path, name, follow_symlinks=False)
        except OSError as e:
            lists[name] = errno.errorcode[e.errno]
    return oct(st.st_mode), st.st_uid, st.st_gid, lists, sorted(os.listxattr(path, follow_symlinks=False))


def opens(path, flags):
    os.close(os.open(path, flags))


# What somebody tries with a file or folder that has an ACL.
TRIES = {
    "read": lambda p: opens(p, os.O_RDONLY),
    "write": lambda p: opens(p, os.O_WRONLY) if os.path.isfile(p) else os.mkdir(p + "/made"),
    "execute": lambda p: os.stat(p + "/.") if os.path.isdir(p) else os.access(p, os.X_OK) or os.stat(p + "/"),
    "set minimal": lambda p: os.setxattr(p, ACCESS, MINIMAL),
    "set named": lambda p: os.setxattr(p, ACCESS, NAMED),
    "set default": lambda p: os.setxattr(p, DEFAULT, NAMED),
    "remove": lambda p: os.removexattr(p, ACCESS),
    "remove default": lambda p: os.removexattr(p, DEFAULT),
    "chmod": lambda p: os.chmod(p, 0o2751),
    "get": lambda p: os.getxattr(p, ACCESS),
    "set nonsense": lambda p: os.setxattr(p, ACCESS, NAMED[:-8]),
    "set a version": lambda p: os.setxattr(p, ACCESS, b"\x03" + NAMED[1:]),
}


def try_all(there, judge):
    there.mkdir()
    there.chmod(0o777)
    tasks, paths = [], {}
    for person in PEOPLE:
        for kind in ("file", "folder"):
            for which, value in LISTS.items():
                for attempt, call in TRIES.items():
                    name = f"{kind} {which} {attempt}"
                    path = f"{person} {name}"
                    (there / path).touch() if kind == "file" else (there / path).mkdir()
                    os.chown(there / path, OWNER, GROUP)
                    os.chmod(there / path, 0o2700)
                    os.setxattr(there / path, ACCESS, value)
                    tasks.append((person, name, lambda call=call, path=path: call(path)))
                    paths[person, name] = path
    results = as_each(there, tasks)
    return {key: (results[key], look(judge / path)) for key, path in paths.items()}


def test_lists_let_in_and_change_as_on_ext4(ext4, shared):
    expected = try_all(ext4 / "tries", ext4 / "tries")
    compare(expected, try_all(shared.mnt / "tries", shared.mnt2 / "tries"))


def make_all(there, judge):
    """Everything that can be made, below every default list, under several masks and modes."""
    there.mkdir()
    seen = {}
    for which, value in {**LISTS, "none": None}.items():
        for sgid in (0, 0o2000):
            folder = there / f"{which} {sgid:o}"
            folder.mkdir()
            os.chown(folder, OWNER, GROUP)
            os.chmod(folder, 0o755 | sgid)
            if value:
                os.setxattr(folder, DEFAULT, value)
            for umask in (0o000, 0o027, 0o777):
                for mode in (0o777, 0o640, 0o6755):
                    here = f"{umask:o} {mode:o}"
                    old = os.umask(umask)
                    os.close(os.open(folder / f"file {here}", os.O_CREAT | os.O_WRONLY, mode))
                    os.mkdir(folder / f"folder {here}", mode)
                    os.mkdir(folder / f"folder {here}/below", mode)
                    os.mkfifo(folder / f"fifo {here}", mode)
                    os.mknod(folder / f"node {here}", mode | stat.S_IFREG)
                    os.symlink("x", folder / f"link {here}")
                    fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY, mode)
                    os.link(f"/proc/self/fd/{fd}", folder / f"tmp {here}", src_dir_fd=fd)     # by linkat(2)
                    os.close(fd)
                    os.umask(old)
    for root, folders, files in os.walk(judge):
        for name in folders + files:
            path = os.path.join(root, name)
            seen[os.path.relpath(path, judge)] = look(path)
    return seen


def test_what_is_made_gets_the_default_list_instead_of_the_mask(ext4, shared):
    expected = make_all(ext4 / "made", ext4 / "made")
    assert len(expected) > 600
    compare(expected, make_all(shared.mnt / "made", shared.mnt2 / "made"))


def test_each_mount_sees_the_others_lists_at_once(shared):
    a, b = shared.mnt / "seen", shared.mnt2 / "seen"
    a.write_text("x")
    a.chmod(0o600)
    os.chown(a, OWNER, GROUP)

    def read(there):
        os.chdir(there)
        become("other outside")
        with open("seen") as f:
            f.read()

    for i in range(6):
        one, two = (a, b) if i % 2 else (b, a)
        may = i % 3 != 0
        os.setxattr(one, ACCESS, acl(("u:", 6), ("u", OTHER, 4 if may else 0), ("g:", 0), ("m", 4), ("o", 0)))
        for path in (two, one):
            job = Job(read, path.parent)
            job.join(30)
            assert job.errno == (0 if may else errno.EACCES), i
        assert os.getxattr(two, ACCESS) == os.getxattr(one, ACCESS)
    os.chmod(b, 0o600)
    job = Job(read, a.parent)
    job.join(30)
    assert job.errno == errno.EACCES
    os.removexattr(b, ACCESS)
    with pytest.raises(OSError, match="No data"):
        os.getxattr(a, ACCESS)


def test_tools_and_a_remount_and_fsck(shared):
    folder = shared.mnt / "tools"
    folder.mkdir()
    if not shutil.which("setfacl"):
        pytest.skip("package acl is not installed")
    subprocess.run(["setfacl", "-R", "-m", "u:1000:rwX,d:g:2000:rX", folder], check=True)
    (folder / "new").touch()
    before = subprocess.run(["getfacl", "-Rpn", folder], check=True, stdout=subprocess.PIPE).stdout
    assert b"user:1000:rwx" in before and b"default:group:2000:r-x" in before
    subprocess.run(["cp", "-a", folder, shared.mnt / "copy"], check=True)
    copied = subprocess.run(["getfacl", "-Rpn", shared.mnt2 / "copy"], check=True, stdout=subprocess.PIPE).stdout
    assert copied.replace(b"mnt2/copy", b"mnt1/tools") == before
    for name in ("client1", "client2", "mds", "cs1", "cs2", "cs3"):
        shared.stop(name)
    checked = shared.fsck()
    for name in ("mds", "cs1", "cs2", "cs3", "client1", "client2"):
        shared.start(name)
    assert checked.returncode == 0, checked.stdout
    after = subprocess.run(["getfacl", "-Rpn", folder], check=True, stdout=subprocess.PIPE).stdout
    assert after == before


def test_a_file_system_without_them_says_so(tmp_path):
    with running(Cluster(tmp_path / "cluster", servers=1)) as cluster:
        path = cluster.mnt / "folder"
        path.mkdir()
        for call in (lambda: os.getxattr(path, ACCESS), lambda: os.setxattr(path, ACCESS, MINIMAL),
                     lambda: os.removexattr(path, DEFAULT)):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EOPNOTSUPP
        os.umask(0o027)
        (cluster.mnt / "masked").touch()
        os.umask(0o022)
        assert stat.S_IMODE(os.stat(cluster.mnt / "masked").st_mode) == 0o640
