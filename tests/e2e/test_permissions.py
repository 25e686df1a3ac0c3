# SPDX-License-Identifier: Apache-2.0
"""
Who may do what, and what it does to set-id bits and capabilities: each table runs on an ext4 of its own first, then on
a mount, judged there and on a second mount. No expectation is written down twice: what ext4 does is right.
"""
import ctypes
import errno
import fcntl
import os
import stat
import struct
import subprocess

import pytest

from conftest import Job, MiB, on_loop_disk

LIBC = ctypes.CDLL(None, use_errno=True)
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)      # cap_net_bind_service=ep
OWNER, OTHER, GROUP, SECOND = 1000, 1001, 2000, 2001
# name: (uid, gid, supplementary groups)
PEOPLE = {
    "root": (0, 0, []),
    "owner": (OWNER, OWNER, [GROUP]),
    "owner outside": (OWNER, OWNER, [SECOND]),
    "owner inside": (OWNER, GROUP, []),
    "other": (OTHER, OTHER, [GROUP]),
    "other outside": (OTHER, OTHER, []),
}


def become(person):
    uid, gid, groups = PEOPLE[person]
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def fallocate(path, mode):
    fd = os.open(path, os.O_WRONLY)
    try:
        if LIBC.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(3)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")
    finally:
        os.close(fd)


def on_file(path, flags, call):
    fd = os.open(path, flags)
    try:
        call(fd)
    finally:
        os.close(fd)


def copy_into(path):
    source = os.open("source", os.O_RDONLY)
    try:
        on_file(path, os.O_WRONLY, lambda fd: os.copy_file_range(source, fd, 3))
    finally:
        os.close(source)


# What is done to a file of six bytes.
CHANGES = {
    "write": lambda p: on_file(p, os.O_WRONLY, lambda fd: os.write(fd, b"x")),
    "append": lambda p: on_file(p, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"x")),
    "write nothing": lambda p: on_file(p, os.O_WRONLY, lambda fd: os.write(fd, b"")),
    "rewrite": lambda p: on_file(p, os.O_RDWR, lambda fd: os.write(fd, b"x")),
    "open": lambda p: on_file(p, os.O_WRONLY, lambda fd: None),
    "read": lambda p: on_file(p, os.O_RDONLY, lambda fd: os.read(fd, 1)),
    "cut on opening": lambda p: on_file(p, os.O_WRONLY | os.O_TRUNC, lambda fd: None),
    "truncate": lambda p: os.truncate(p, 2),
    "lengthen": lambda p: os.truncate(p, 9),
    "ftruncate": lambda p: on_file(p, os.O_WRONLY, lambda fd: os.ftruncate(fd, 1)),
    "fallocate": lambda p: fallocate(p, 0),
    "punch a hole": lambda p: fallocate(p, 3),
    "copy into": copy_into,
    "chown to nobody": lambda p: os.chown(p, -1, -1),
    "chown to itself": lambda p: os.chown(p, OWNER, -1),
    "chown away": lambda p: os.chown(p, OTHER, -1),
    "chgrp to itself": lambda p: os.chown(p, -1, GROUP),
    "chgrp": lambda p: os.chown(p, -1, SECOND),
    "chown and chgrp": lambda p: os.chown(p, OWNER, GROUP),
    "chmod all": lambda p: os.chmod(p, 0o6777),
    "chmod without x": lambda p: os.chmod(p, 0o6666),
    "fchmod": lambda p: on_file(p, os.O_RDONLY, lambda fd: os.fchmod(fd, 0o2775)),
    "touch": lambda p: os.utime(p),
    "set times": lambda p: os.utime(p, ns=(1, 2)),
    "set attribute": lambda p: os.setxattr(p, "user.a", b"1"),
    "rename": lambda p: os.rename(p, p + "'") or os.rename(p + "'", p),
    "link": lambda p: os.link(p, p + "+") or os.unlink(p + "+"),
}
MODES = [0o6777, 0o6767, 0o4766, 0o2776, 0o2766, 0o2674]


def errno_of(call, *args):
    try:
        call(*args)
        return 0
    except OSError as e:
        return e.errno


def as_each(there, tasks):
    """tasks: (person, name, call) -> {(person, name): result}; one process a person, in the folder `there`."""
    results = {}
    for person in PEOPLE:
        mine = [(name, call) for who, name, call in tasks if who == person]
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)

        def run(mine=mine, person=person, writer=writer):
            os.chdir(there)         # the way to it is root's alone
            os.umask(0)
            become(person)
            os.write(writer, b"".join(struct.pack("i", errno_of(call)) for _, call in mine))

        job = Job(run)
        os.close(writer)
        job.join(120)
        assert job.errno == 0, f"{person}: {job.errno}"
        with open(reader, "rb") as f:
            codes = struct.iter_unpack("i", f.read())
        results.update({(person, name): errno.errorcode.get(code, "done")
                        for (name, _), (code,) in zip(mine, codes, strict=True)})
    return results


def capability(path):
    return errno_of(os.getxattr, path, "security.capability") == 0


def look(path, before):
    st = os.lstat(path)
    return (oct(stat.S_IMODE(st.st_mode)), st.st_uid, st.st_gid, st.st_size, st.st_ctime_ns > before,
            capability(path))


def change_files(there, judge, modes, people=PEOPLE):
    """Every change of every mode by everybody; what became of each file, as `judge` sees it."""
    there.mkdir()
    there.chmod(0o777)
    (there / "source").write_bytes(b"source")
    tasks, paths, before = [], {}, {}
    for person in people:
        for mode in modes:
            for change, call in CHANGES.items():
                name = f"{mode:o} {change}"
                path = f"{person} {name}"
                with open(there / path, "wb") as f:
                    f.write(b"sixsix")
                os.chown(there / path, OWNER, GROUP)
                if mode & 0o4000:
                    os.setxattr(there / path, "security.capability", CAPABILITY)
                os.chmod(there / path, mode)
                tasks.append((person, name, lambda call=call, path=path: call(path)))
                paths[person, name] = path
                before[person, name] = os.stat(there / path).st_ctime_ns
    results = as_each(there, tasks)
    return {key: (results[key], *look(judge / path, before[key])) for key, path in paths.items()}


# FUSE sends chown(2) to nobody as it asks before a write: only of the owner, who may do both, it means one thing.
UNSAID = [(person, f"{mode:o} chown to nobody") for person in ("root", "other", "other outside") for mode in MODES]


def compare(expected, found):
    differing = {key: (expected[key], found[key]) for key in expected if expected[key] != found[key]}
    assert not differing, "\n".join(f"{key}: ext4 {a}, cairn {b}" for key, (a, b) in differing.items())


@pytest.fixture(scope="module")
def ext4(tmp_path_factory):
    with on_loop_disk(tmp_path_factory.mktemp("ext4"), "disk", 64) as folder:
        yield folder


def test_set_id_bits_and_capabilities_go_as_on_ext4(ext4, shared):
    expected = change_files(ext4 / "files", ext4 / "files", MODES)
    found = change_files(shared.mnt / "files", shared.mnt2 / "files", MODES)
    for key in UNSAID:
        del expected[key]
    compare(expected, found)


# What is done in a folder of OWNER and GROUP; each call names what it is about.
def create(path, mode):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    return path


DIRECTORY_CHANGES = {
    "create": lambda d: create(d + "/new", 0o644),
    "create with sgid": lambda d: create(d + "/new", 0o2775),
    "create with sgid, without x": lambda d: create(d + "/new", 0o2664),
    "mkdir": lambda d: os.mkdir(d + "/new", 0o755),
    "mkfifo": lambda d: os.mkfifo(d + "/new", 0o2777),
    "symlink": lambda d: os.symlink("x", d + "/new"),
    "link": lambda d: os.link(d + "/owner", d + "/new"),
    "unlink owner's": lambda d: os.unlink(d + "/owner"),
    "unlink other's": lambda d: os.unlink(d + "/other"),
    "rename owner's": lambda d: os.rename(d + "/owner", d + "/new"),
    "rename other's": lambda d: os.rename(d + "/other", d + "/new"),
    "rename over": lambda d: os.rename(d + "/owner", d + "/other"),
    "rename over back": lambda d: os.rename(d + "/other", d + "/owner"),
    "rmdir": lambda d: os.rmdir(d + "/below"),
    "rename a folder": lambda d: os.rename(d + "/below", d + "/new"),
    "chmod with sgid": lambda d: os.chmod(d, 0o2777),
    "chgrp": lambda d: os.chown(d, -1, SECOND),
    "chown to itself": lambda d: os.chown(d, OWNER, GROUP),
    "list": lambda d: os.listdir(d),
    "touch": lambda d: os.utime(d),
}


def change_folders(there, judge):
    there.mkdir()
    there.chmod(0o777)
    tasks, paths = [], {}
    for person in PEOPLE:
        for mode in (0o2777, 0o1777, 0o3775, 0o2755, 0o711):
            for change, call in DIRECTORY_CHANGES.items():
                name = f"{mode:o} {change}"
                path = f"{person} {name}"
                os.mkdir(there / path)
                (there / path / "below").mkdir()
                for file, uid in (("owner", OWNER), ("other", OTHER)):
                    (there / path / file).touch()
                    os.chown(there / path / file, uid, GROUP)
                os.chown(there / path / "below", OWNER, GROUP)
                os.chown(there / path, OWNER, GROUP)
                os.chmod(there / path, mode)
                tasks.append((person, name, lambda call=call, path=path: call(path)))
                paths[person, name] = path
    results = as_each(there, tasks)
    found = {}
    for key, path in paths.items():
        what = {name: os.lstat(judge / path / name) for name in [".", *sorted(os.listdir(judge / path))]}
        found[key] = (results[key], {name: (oct(st.st_mode), st.st_uid, st.st_gid) for name, st in what.items()})
    return found


def test_folders_hand_on_groups_and_protect_names_as_on_ext4(ext4, shared):
    expected = change_folders(ext4 / "folders", ext4 / "folders")
    found = change_folders(shared.mnt / "folders", shared.mnt2 / "folders")
    compare(expected, found)


# Attributes: names, sizes and flags that are right and wrong, on a file, a folder, a link and a FIFO.
ATTRIBUTES = {
    "user": lambda p: os.setxattr(p, "user.a", b"1", follow_symlinks=False),
    "user empty": lambda p: os.setxattr(p, "user.a", b"", follow_symlinks=False),
    "user replaced": lambda p: os.setxattr(p, "user.there", b"2", os.XATTR_REPLACE, follow_symlinks=False),
    "user replaced in vain": lambda p: os.setxattr(p, "user.a", b"2", os.XATTR_REPLACE, follow_symlinks=False),
    "user made": lambda p: os.setxattr(p, "user.a", b"2", os.XATTR_CREATE, follow_symlinks=False),
    "user made in vain": lambda p: os.setxattr(p, "user.there", b"2", os.XATTR_CREATE, follow_symlinks=False),
    "trusted": lambda p: os.setxattr(p, "trusted.a", b"1", follow_symlinks=False),
    "security": lambda p: os.setxattr(p, "security.a", b"1", follow_symlinks=False),
    "capability": lambda p: os.setxattr(p, "security.capability", CAPABILITY, follow_symlinks=False),
    "system": lambda p: os.setxattr(p, "system.a", b"1", follow_symlinks=False),
    "no space": lambda p: os.setxattr(p, "a", b"1", follow_symlinks=False),
    "another space": lambda p: os.setxattr(p, "a.b", b"1", follow_symlinks=False),
    "no name": lambda p: os.setxattr(p, "user.", b"1", follow_symlinks=False),
    "no name of trust": lambda p: os.setxattr(p, "trusted.", b"1", follow_symlinks=False),
    "long name": lambda p: os.setxattr(p, "user." + "n" * 250, b"1", follow_symlinks=False),
    "too long name": lambda p: os.setxattr(p, "user." + "n" * 251, b"1", follow_symlinks=False),
    "too long value": lambda p: os.setxattr(p, "user.a", bytes(65537), follow_symlinks=False),
    "get": lambda p: os.getxattr(p, "user.there", follow_symlinks=False),
    "get none": lambda p: os.getxattr(p, "user.a", follow_symlinks=False),
    "get trusted": lambda p: os.getxattr(p, "trusted.there", follow_symlinks=False),
    "get no trusted": lambda p: os.getxattr(p, "trusted.a", follow_symlinks=False),
    "get security": lambda p: os.getxattr(p, "security.there", follow_symlinks=False),
    "get system": lambda p: os.getxattr(p, "system.a", follow_symlinks=False),
    "get another space": lambda p: os.getxattr(p, "a.b", follow_symlinks=False),
    "get no name": lambda p: os.getxattr(p, "user.", follow_symlinks=False),
    "remove": lambda p: os.removexattr(p, "user.there", follow_symlinks=False),
    "remove none": lambda p: os.removexattr(p, "user.a", follow_symlinks=False),
    "remove trusted": lambda p: os.removexattr(p, "trusted.there", follow_symlinks=False),
    "remove system": lambda p: os.removexattr(p, "system.a", follow_symlinks=False),
    "remove another space": lambda p: os.removexattr(p, "a.b", follow_symlinks=False),
    "list": lambda p: os.listxattr(p, follow_symlinks=False),
}
KINDS = {
    "file": lambda p: open(p, "w").close(),
    "folder": os.mkdir,
    "link": lambda p: os.symlink("nowhere", p),
    "fifo": os.mkfifo,
}


def change_attributes(there, judge):
    there.mkdir()
    there.chmod(0o777)
    tasks, paths, before = [], {}, {}
    for person in ("root", "owner", "other"):
        for kind, make in KINDS.items():
            for mode in (0o666, 0o644, 0o1777):
                for change, call in ATTRIBUTES.items():
                    name = f"{kind} {mode:o} {change}"
                    path = f"{person} {name}"
                    make(there / path)
                    os.chown(there / path, OWNER, GROUP, follow_symlinks=False)
                    if kind != "link":
                        os.chmod(there / path, mode)
                    if kind in ("file", "folder"):
                        os.setxattr(there / path, "user.there", b"there")
                    os.setxattr(there / path, "trusted.there", b"there", follow_symlinks=False)
                    os.setxattr(there / path, "security.there", b"there", follow_symlinks=False)
                    tasks.append((person, name, lambda call=call, path=path: call(path)))
                    paths[person, name] = path
                    before[person, name] = os.lstat(there / path).st_ctime_ns
    results = as_each(there, tasks)
    found = {}
    for key, path in paths.items():
        names = sorted(os.listxattr(judge / path, follow_symlinks=False))
        found[key] = (results[key], {n: os.getxattr(judge / path, n, follow_symlinks=False) for n in names},
                      os.lstat(judge / path).st_ctime_ns > before[key])
    return found


def test_extended_attributes_are_those_of_ext4(ext4, shared):
    expected = change_attributes(ext4 / "attributes", ext4 / "attributes")
    found = change_attributes(shared.mnt / "attributes", shared.mnt2 / "attributes")
    compare(expected, found)


def test_names_of_attributes_are_hidden_from_who_must_not_see_them(shared):
    path = shared.mnt / "hidden"
    path.touch()
    for name in ("trusted.a", "user.b", "trusted.c", "security.d"):
        os.setxattr(path, name, b"")
    assert sorted(os.listxattr(path)) == ["security.d", "trusted.a", "trusted.c", "user.b"]

    def look():
        os.chdir(shared.mnt)
        become("other")
        assert sorted(os.listxattr("hidden")) == ["security.d", "user.b"]
        size = LIBC.listxattr(b"hidden", None, ctypes.c_size_t(0))
        assert size == len(b"security.d\0user.b\0")
        assert LIBC.listxattr(b"hidden", ctypes.create_string_buffer(size), ctypes.c_size_t(size - 1)) == -1
        assert ctypes.get_errno() == errno.ERANGE

    job = Job(look)
    job.join(30)
    assert job.errno == 0
    os.unlink(path)


def test_as_many_and_as_large_as_promised(shared):
    a, b = shared.mnt / "attributed", shared.mnt2 / "attributed"
    a.touch()
    large = os.urandom(65536)
    os.setxattr(a, "user.large", large)
    for i in range(999):
        os.setxattr(a, f"user.{i}", str(i).encode())
    assert os.getxattr(b, "user.large") == large
    assert len(os.listxattr(b)) == 1000
    assert all(os.getxattr(b, f"user.{i}") == str(i).encode() for i in range(999))
    os.unlink(b)
    assert not a.exists()


def test_a_mount_with_mapped_ids_is_refused(shared):
    """Owners on the wire would be those of another name space."""
    open_tree, mount_setattr, here, clone, idmap = 428, 442, -100, 1, 0x00100000
    with subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as inside:
        inside.stdin.write(b"x")
        inside.stdin.flush()
        inside.stdout.read1(1)      # now it is in there
        for kind in ("uid", "gid"):
            with open(f"/proc/{inside.pid}/{kind}_map", "w") as f:
                f.write("0 100000 65536")
        space = os.open(f"/proc/{inside.pid}/ns/user", os.O_RDONLY)
        inside.stdin.close()
    tree = LIBC.syscall(open_tree, here, str(shared.mnt).encode(), clone)
    assert tree >= 0
    attributes = struct.pack("<4Q", idmap, 0, 0, space)
    assert LIBC.syscall(mount_setattr, tree, b"", 0x1000, attributes, len(attributes)) == -1
    assert ctypes.get_errno() == errno.EINVAL
    os.close(tree)
    os.close(space)


def test_a_new_owner_is_known_to_the_kernel_of_another_mount_at_once(shared):
    """It checks owners by what it was told last, and for chmod or a sticky folder does not ask again."""
    for folder in (shared.mnt / "owned", shared.mnt / "owned/sticky"):
        folder.mkdir()
        folder.chmod(0o1777)

    def act(call):
        def run():
            os.chdir(shared.mnt / "owned")
            become("other")
            call()

        job = Job(run)
        job.join(30)
        return job.errno

    for i in range(5):
        for name, call in ((f"f{i}", lambda i=i: os.chmod(f"f{i}", 0o600)),
                           (f"sticky/f{i}", lambda i=i: os.unlink(f"sticky/f{i}"))):
            (shared.mnt / "owned" / name).touch()
            there = shared.mnt2 / "owned" / name
            assert os.stat(there).st_uid == os.stat(shared.mnt / "owned" / name).st_uid == 0
            os.chown(there, OTHER, OTHER)
            assert act(call) == 0
        os.chown(there.parent.parent / f"f{i}", OWNER, OWNER)
        assert act(lambda i=i: os.chmod(f"f{i}", 0o666)) == errno.EPERM
