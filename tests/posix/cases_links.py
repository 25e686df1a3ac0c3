# SPDX-License-Identifier: Apache-2.0
"""Symbolic links (symlink(7)), FIFOs and sockets, unlinked files, files without names, handles."""
import os
import socket
import stat
from errno import (EACCES, EAGAIN, ECONNREFUSED, EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EOVERFLOW,
                   EPERM, EPIPE, ESTALE)

import syscalls as sys_
from suite import (OWNER, STRANGER, Other, acting_as, check, equal, eventually, exists, fails, in_child, mode_of,
                   open_folder, outcome, pattern, read_all, read_file, table, true, umask, write_file, write_once)
from types_of_files import make_socket

RW = os.O_RDWR | os.O_CREAT

# ---- symbolic links ----------------------------------------------------------------------------------

TARGETS = (
    ("of one byte", "x"), ("that does not exist", "no/such/name"), ("that is absolute", "/etc/hostname"),
    ("of 255 bytes", "t" * 255), ("of 4095 bytes", "t/" * 2047 + "t"), ("with a slash last", "folder/"),
    ("of slashes only", "///"), ("'.'", "."), ("'..'", ".."), ("with a newline", "a\nb"), ("of no UTF-8", b"\xff\xfe"),
)


def target_comes_back(target, a, b):
    os.symlink(target, os.fsencode(a / "link") if isinstance(target, bytes) else a / "link")
    equal(os.readlink(os.fsencode(b / "link")), os.fsencode(target))
    equal(os.lstat(b / "link").st_size, len(os.fsencode(target)), "st_size")


@table
def targets():
    for story, target in TARGETS:
        yield f"symlink(2), readlink(2): a target {story}", target_comes_back, target


def refused_target(target, code, d):
    fails(code, os.symlink, target, d / "link")
    true(not exists(d / "link"), "it was made")


@table
def refused_targets():
    yield "symlink(2) ENAMETOOLONG: a target of 4096 bytes", refused_target, "t" * 4096, ENAMETOOLONG
    yield "symlink(2) ENOENT: an empty target", refused_target, "", ENOENT


@check("readlink(2): is cut to the buffer")
def _(a, b):
    os.symlink("0123456789", a / "link")
    equal(sys_.readlink(b / "link", 4), b"0123")


@check("readlink(2): ends without a NUL")
def _(d):
    os.symlink("0123", d / "link")
    equal(sys_.readlink(d / "link", 100), b"0123")


@check("readlink(2) EINVAL: no room at all")
def _(d):
    os.symlink("0123", d / "link")
    fails(EINVAL, sys_.readlink, d / "link", 0)


@check("readlinkat(2): an O_PATH descriptor of the link, and an empty path")
def _(d):
    os.symlink("target", d / "link")
    fd = os.open(d / "link", os.O_PATH | os.O_NOFOLLOW)
    equal(os.readlink("", dir_fd=fd), "target")


@check("symlink(7): a relative target starts at the link's folder")
def _(a, b):
    os.mkdir(a / "sub")
    write_file(a / "it", b"outer")
    write_file(a / "sub/it", b"inner")
    os.symlink("it", a / "sub/link")
    equal(read_file(b / "sub/link"), b"inner")
    os.rename(a / "sub/link", a / "link")
    equal(read_file(b / "link"), b"outer")


@check("symlink(7): a link that is replaced leads to the new target at once")
def _(a, b):
    for name in ("one", "two"):
        write_file(a / name, name.encode())
    os.symlink("one", a / "link")
    equal(read_file(b / "link"), b"one")
    os.symlink("two", a / "new")
    os.rename(a / "new", a / "link")
    equal(read_file(b / "link"), b"two")


@check("symlink(7): a link that comes again may lead elsewhere")
def _(a, b):
    os.symlink("one", a / "link")
    equal(os.readlink(b / "link"), "one")
    os.unlink(a / "link")
    os.symlink("two", a / "link")
    equal(os.readlink(b / "link"), "two")


@check("symlink(7): a dangling link leads there once the target is made")
def _(a, b):
    os.symlink("it", a / "link")
    fails(ENOENT, os.stat, b / "link")
    write_file(a / "it", b"made")
    equal(read_file(b / "link"), b"made")


@check("symlink(7): unlink(2) of the target leaves the link")
def _(a, b):
    write_file(a / "it")
    os.symlink("it", a / "link")
    os.unlink(a / "it")
    fails(ENOENT, os.stat, b / "link")
    equal(os.readlink(b / "link"), "it")


@check("symlink(7): unlink(2) of the link leaves the target")
def _(a, b):
    write_file(a / "it")
    os.symlink("it", a / "link")
    os.unlink(a / "link")
    equal(os.listdir(b), ["it"])


@check("rename(2) over a link replaces the link, not its target")
def _(a, b):
    write_file(a / "target", b"target")
    os.symlink("target", a / "link")
    write_file(a / "it", b"it")
    os.rename(a / "it", a / "link")
    equal((read_file(b / "link"), read_file(b / "target")), (b"it", b"target"))
    true(not os.path.islink(b / "link"), "still a link")


@check("chown(2) follows, lchown(2) does not")
def _(a, b):
    write_file(a / "target")
    os.symlink("target", a / "link")
    os.chown(a / "link", 1, 1)
    os.lchown(a / "link", 2, 2)
    equal((os.stat(b / "target").st_uid, os.lstat(b / "link").st_uid), (1, 2))


# ---- FIFOs and sockets -------------------------------------------------------------------------------

def ends(d):
    os.mkfifo(d / "fifo")
    reader = os.open(d / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    return reader, os.open(d / "fifo", os.O_WRONLY)


@check("fifo(7): what is written is read, in order")
def _(d):
    reader, writer = ends(d)
    os.write(writer, b"one")
    os.write(writer, b"two")
    equal(os.read(reader, 10), b"onetwo")


@check("fifo(7): a second open of the same name is the same pipe")
def _(d):
    reader, writer = ends(d)
    second = os.open(d / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    os.write(writer, b"x")
    equal(os.read(second, 10), b"x")
    fails(EAGAIN, os.read, reader, 10)


@check("fifo(7): through two names the same pipe")
def _(d):
    reader, _writer = ends(d)
    os.link(d / "fifo", d / "too")
    os.write(os.open(d / "too", os.O_WRONLY), b"x")
    equal(os.read(reader, 10), b"x")


@check("fifo(7): the end of file comes when the last writer closes")
def _(d):
    reader, writer = ends(d)
    fails(EAGAIN, os.read, reader, 1)
    os.close(writer)
    equal(os.read(reader, 1), b"")


@check("fifo(7) EPIPE: nobody reads any more")
def _(d):
    reader, writer = ends(d)
    os.close(reader)
    fails(EPIPE, os.write, writer, b"x")


@check("fifo(7): open(2) for reading waits for a writer")
def _(d):
    os.mkfifo(d / "fifo")

    def script():
        yield "ready"
        yield os.read(os.open(d / "fifo", os.O_RDONLY), 10)
    other = Other(script)
    other.next()
    other.start()
    true(other.is_blocked(), "it did not wait")
    writer = os.open(d / "fifo", os.O_WRONLY)
    os.write(writer, b"hello")
    equal(other.wait(), b"hello")


@check("fifo(7): goes on after its name is gone")
def _(d):
    reader, writer = ends(d)
    os.unlink(d / "fifo")
    os.write(writer, b"x")
    equal(os.read(reader, 1), b"x")


@check("fifo(7): st_size stays 0 with data in it")
def _(d):
    _reader, writer = ends(d)
    os.write(writer, b"xyz")
    equal(os.stat(d / "fifo").st_size, 0)


def server(d):
    os.chdir(d)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("sock")
    return sock


@check("unix(7): connect(2) by the socket's name")
def _(d):
    with server(d) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.listen()
        client.connect("sock")
        with listening.accept()[0] as accepted:
            client.sendall(b"hello")
            equal(accepted.recv(10), b"hello")


@check("unix(7): connect(2) after the socket's file was renamed")
def _(d):
    with server(d) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.listen()
        os.rename("sock", "new")
        client.connect("new")


@check("unix(7) ECONNREFUSED: nobody listens any more")
def _(d):
    make_socket(d / "sock")
    os.chdir(d)
    with socket.socket(socket.AF_UNIX) as client:
        fails(ECONNREFUSED, client.connect, "sock")


@check("unix(7) ECONNREFUSED: the name is no socket")
def _(d):
    write_file(d / "sock")
    os.chdir(d)
    with socket.socket(socket.AF_UNIX) as client:
        fails(ECONNREFUSED, client.connect, "sock")


@check("unix(7) EACCES: connect(2) needs write permission")
def _(d):
    os.chmod(d, 0o755)
    with server(d) as listening:
        listening.listen()
        os.chmod("sock", 0o755)
        with acting_as(STRANGER), socket.socket(socket.AF_UNIX) as client:
            fails(EACCES, client.connect, "sock")


@check("unix(7): the socket's mode is 0777 less umask")
def _(d):
    with umask(0o027):
        server(d).close()
    equal(mode_of(d / "sock"), 0o750)


@check("unix(7): datagrams by the socket's name")
def _(d):
    os.chdir(d)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_UNIX,
        socket.SOCK_DGRAM) as two:
        one.bind("sock")
        two.sendto(b"hello", "sock")
        equal(one.recv(10), b"hello")


# ---- files that have no name any more ----------------------------------------------------------------

def copy_out(fd):
    out = os.open("copy", RW)
    os.copy_file_range(fd, out, 100, 0, 0)
    return read_all(out)


AFTERLIFE = (
    ("read(2)", lambda fd: equal(os.pread(fd, 100, 0), b"content")),
    ("write(2)", lambda fd: (write_once(fd, b"more", 7), equal(read_all(fd), b"contentmore"))),
    ("ftruncate(2)", lambda fd: (os.ftruncate(fd, 3), equal(read_all(fd), b"con"))),
    ("ftruncate(2) to more", lambda fd: (os.ftruncate(fd, 10), equal(read_all(fd), b"content\0\0\0"))),
    ("fallocate(2)", lambda fd: (sys_.fallocate(fd, 0, 0, 1000), equal(os.fstat(fd).st_size, 1000))),
    ("fchmod(2)", lambda fd: (os.fchmod(fd, 0o123), equal(stat.S_IMODE(os.fstat(fd).st_mode), 0o123))),
    ("fchown(2)", lambda fd: (os.fchown(fd, 7, 8), equal(os.fstat(fd)[4:6], (7, 8)))),
    ("futimens(2)", lambda fd: (sys_.futimens(fd, (3, 4), (5, 6)), equal(os.fstat(fd).st_mtime_ns, 5_000_000_006))),
    ("fsetxattr(2)", lambda fd: (os.setxattr(fd, "user.n", b"v"), equal(os.getxattr(fd, "user.n"), b"v"))),
    ("fgetxattr(2)", lambda fd: equal(os.getxattr(fd, "user.old"), b"was")),
    ("fremovexattr(2)", lambda fd: (os.removexattr(fd, "user.old"), equal(os.listxattr(fd), []))),
    ("fsync(2)", os.fsync),
    ("lseek(2) SEEK_END", lambda fd: equal(os.lseek(fd, 0, os.SEEK_END), 7)),
    ("fstat(2) st_nlink", lambda fd: equal(os.fstat(fd).st_nlink, 0)),
    ("a second open through /proc", lambda fd: equal(read_file(f"/proc/self/fd/{fd}"), b"content")),
    ("writing through a second open", lambda fd: (write_once(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY), b"C"),
                                                  equal(os.pread(fd, 9, 0), b"Content"))),
    ("copy_file_range(2) from it", lambda fd: equal(copy_out(fd), b"content")),
    ("a MiB written and read", lambda fd: (write_once(fd, pattern(1 << 20), 0), equal(read_all(fd), pattern(1 << 20)))),
    ("dup(2) and close(2) of the first", lambda fd: (os.dup2(fd, 500), os.close(fd), equal(os.pread(500, 7, 0),
     b"content"))),
    ("in a child process", lambda fd: equal(in_child(os.pread, fd, 7, 0), b"content")),
    ("truncate(2) through /proc", lambda fd: (os.truncate(f"/proc/self/fd/{fd}", 2), equal(read_all(fd), b"co"))),
)


def after_unlink(how, use, a, b):
    os.chdir(b)
    os.setxattr(write_file(b / "it", b"content"), "user.old", b"was")
    fd = os.open(b / "it", os.O_RDWR)
    if how == "unlink(2)":
        os.unlink(a / "it")
    else:
        os.rename(write_file(a / "new"), a / "it")
    use(fd)


@table
def after_the_name_is_gone():
    for how in ("unlink(2)", "rename(2) over it"):
        for story, use in AFTERLIFE:
            yield f"{how} of an open file: {story}", after_unlink, how, use


@check("unlink(2): the other names of an open file stay whole")
def _(a, b):
    write_file(a / "it", b"content")
    os.link(a / "it", a / "too")
    fd = os.open(b / "it", os.O_RDWR)
    os.unlink(a / "it")
    write_once(fd, b"CON", 0)
    os.close(fd)
    equal(read_file(a / "too"), b"CONtent")


@check("unlink(2): unwritten data of the last descriptor go with it, without an error")
def _(a, b):
    fd = os.open(a / "it", RW)
    write_once(fd, pattern(300_000))
    os.unlink(b / "it")
    os.fsync(fd)
    os.close(fd)
    equal(os.listdir(b), [])


# ---- O_TMPFILE ---------------------------------------------------------------------------------------

def nameless(d, flags=os.O_RDWR, mode=0o600):
    return os.open(d, os.O_TMPFILE | flags, mode)


@check("open(2) O_TMPFILE: a file without a name")
def _(a, b):
    fd = nameless(a)
    equal((os.fstat(fd).st_nlink, stat.S_ISREG(os.fstat(fd).st_mode), os.listdir(b)), (0, True, []))


@check("open(2) O_TMPFILE: can be written and read")
def _(d):
    fd = nameless(d)
    write_once(fd, pattern(200_000))
    equal(read_all(fd), pattern(200_000))


def gets_a_name(link, a, b):
    fd = nameless(a)
    write_once(fd, b"content")
    link(fd, a / "it")
    equal((read_file(b / "it"), os.stat(b / "it").st_nlink, os.fstat(fd).st_nlink), (b"content", 1, 1))
    equal(os.fstat(fd).st_ino, os.stat(b / "it").st_ino)


@table
def names_for_the_nameless():
    yield ("open(2) O_TMPFILE, linkat(2) AT_EMPTY_PATH: gets a name", gets_a_name,
           lambda fd, path: sys_.linkat("", path, sys_.AT_EMPTY_PATH, fd))
    yield ("open(2) O_TMPFILE, linkat(2) through /proc: gets a name", gets_a_name,
           lambda fd, path: sys_.linkat(f"/proc/self/fd/{fd}", path, sys_.AT_SYMLINK_FOLLOW))


@check("open(2) O_TMPFILE: the named file stays after close(2)")
def _(a, b):
    fd = nameless(a)
    write_once(fd, pattern(100_000))
    sys_.linkat("", a / "it", sys_.AT_EMPTY_PATH, fd)
    os.close(fd)
    equal(read_file(b / "it"), pattern(100_000))


@check("open(2) O_TMPFILE, linkat(2) EEXIST: the name is taken")
def _(d):
    fd = nameless(d)
    fails(EEXIST, sys_.linkat, "", write_file(d / "it"), sys_.AT_EMPTY_PATH, fd)


@check("open(2) O_TMPFILE|O_EXCL, linkat(2) ENOENT: may not get a name")
def _(d):
    fd = nameless(d, os.O_RDWR | os.O_EXCL)
    fails(ENOENT, sys_.linkat, "", d / "it", sys_.AT_EMPTY_PATH, fd)


@check("open(2) O_TMPFILE: the mode, less umask, and the caller's owner")
def _(d):
    open_folder(d / "folder")
    with acting_as(STRANGER), umask(0o027):
        fd = nameless(d / "folder", os.O_RDWR, 0o666)
    st = os.fstat(fd)
    equal((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid), (0o640, STRANGER, STRANGER))


@check("open(2) O_TMPFILE: in a set-group-ID folder its group")
def _(d):
    os.chown(d, 0, OWNER)
    os.chmod(d, 0o2755)
    equal(os.fstat(nameless(d)).st_gid, OWNER)


@check("open(2) O_TMPFILE EACCES: the folder may not be written")
def _(d):
    os.chmod(d, 0o755)
    with acting_as(STRANGER):
        fails(EACCES, nameless, d)


@check("open(2) O_TMPFILE EINVAL: O_RDONLY")
def _(d):
    fails(EINVAL, nameless, d, os.O_RDONLY)


@check("open(2) O_TMPFILE ENOTDIR: of a file")
def _(d):
    fails(ENOTDIR, nameless, write_file(d / "it"))


@check("open(2) O_TMPFILE ENOENT: of a folder that does not exist")
def _(d):
    fails(ENOENT, nameless, d / "no")


@check("open(2) O_TMPFILE: no time of the folder moves")
def _(d):
    before = os.stat(d)
    nameless(d)
    after = os.stat(d)
    equal((after.st_mtime_ns, after.st_ctime_ns), (before.st_mtime_ns, before.st_ctime_ns))


@check("open(2) O_TMPFILE: the folder can be removed meanwhile")
def _(d):
    os.mkdir(d / "sub")
    fd = nameless(d / "sub")
    os.rmdir(d / "sub")
    write_once(fd, b"x")
    equal(read_all(fd), b"x")


@check("open(2) O_TMPFILE: two are two files")
def _(d):
    one, two = nameless(d), nameless(d)
    write_once(one, b"1")
    equal((os.fstat(two).st_size, os.fstat(one).st_ino != os.fstat(two).st_ino), (0, True))


@check("open(2) O_TMPFILE: extended attributes go with it to its name")
def _(a, b):
    fd = nameless(a)
    os.setxattr(fd, "user.n", b"v")
    sys_.linkat("", a / "it", sys_.AT_EMPTY_PATH, fd)
    equal(os.getxattr(b / "it", "user.n"), b"v")


# ---- handles -----------------------------------------------------------------------------------------

@check("name_to_handle_at(2) EOVERFLOW: too little room")
def _(d):
    fails(EOVERFLOW, sys_.name_to_handle, write_file(d / "it"), 0, -100, 0)


@check("name_to_handle_at(2): of the link, unless AT_SYMLINK_FOLLOW")
def _(d):
    write_file(d / "it")
    os.symlink("it", d / "link")
    equal(sys_.name_to_handle(d / "link", sys_.AT_SYMLINK_FOLLOW), sys_.name_to_handle(d / "it"))
    true(sys_.name_to_handle(d / "link") != sys_.name_to_handle(d / "it"), "one handle for both")


@check("name_to_handle_at(2): two names of a file have one handle")
def _(d):
    os.link(write_file(d / "it"), d / "too")
    equal(sys_.name_to_handle(d / "it"), sys_.name_to_handle(d / "too"))


@check("name_to_handle_at(2): a name that comes again has another handle")
def _(d):
    first = sys_.name_to_handle(write_file(d / "it"))
    os.unlink(d / "it")
    true(sys_.name_to_handle(write_file(d / "it")) != first, "the same handle")


@check("name_to_handle_at(2): one node's handle is the other's")
def _(a, b):
    write_file(a / "it")
    equal(sys_.name_to_handle(a / "it"), sys_.name_to_handle(b / "it"))


@check("open_by_handle_at(2): reads the file, whatever its name is now")
def _(a, b):
    handle = sys_.name_to_handle(write_file(a / "it", b"content"))
    os.mkdir(a / "sub")
    os.rename(a / "it", a / "sub/new")
    equal(read_all(sys_.open_by_handle(os.open(b, os.O_RDONLY), handle)), b"content")


@check("open_by_handle_at(2): writes the file")
def _(a, b):
    handle = sys_.name_to_handle(write_file(a / "it", b"content"))
    fd = sys_.open_by_handle(os.open(a, os.O_RDONLY), handle, os.O_RDWR)
    write_once(fd, b"CON")
    os.close(fd)
    equal(read_file(b / "it"), b"CONtent")


@check("open_by_handle_at(2): a folder, and names below it")
def _(a, b):
    os.mkdir(a / "sub")
    handle = sys_.name_to_handle(a / "sub")
    fd = sys_.open_by_handle(os.open(b, os.O_RDONLY), handle, os.O_RDONLY | os.O_DIRECTORY)
    os.close(os.open("it", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    true(exists(a / "sub/it"), "it is not there")


@check("open_by_handle_at(2): the folder's '..'")
def _(d):
    os.makedirs(d / "x/y")
    handle = sys_.name_to_handle(d / "x/y")
    fd = sys_.open_by_handle(os.open(d, os.O_RDONLY), handle, os.O_RDONLY)
    equal(os.stat("..", dir_fd=fd).st_ino, os.stat(d / "x").st_ino)


@check("open_by_handle_at(2): an unlinked file that is still open")
def _(d):
    fd = os.open(write_file(d / "it", b"content"), os.O_RDWR)
    handle = sys_.name_to_handle(d / "it")
    os.unlink(d / "it")
    again = sys_.open_by_handle(os.open(d, os.O_RDONLY), handle)
    equal((read_all(again), os.fstat(fd).st_nlink), (b"content", 0))


@check("open_by_handle_at(2) ESTALE: another node removed the file")
def _(a, b):
    handle = sys_.name_to_handle(write_file(a / "it"))
    os.stat(b / "it")
    os.unlink(b / "it")
    fails(ESTALE, sys_.open_by_handle, os.open(a, os.O_RDONLY), handle)


@check("open_by_handle_at(2) ESTALE: a handle that was never given")
def _(d):
    kind, data = sys_.name_to_handle(write_file(d / "it"))
    fails((ESTALE, EINVAL), sys_.open_by_handle, os.open(d, os.O_RDONLY), (kind, bytes(255 - x for x in data)))


@check("open_by_handle_at(2) ELOOP: a symbolic link, but for O_PATH")
def _(d):
    os.symlink("x", d / "link")
    handle, root = sys_.name_to_handle(d / "link"), os.open(d, os.O_RDONLY)
    fails(ELOOP, sys_.open_by_handle, root, handle)
    sys_.open_by_handle(root, handle, os.O_PATH)


@check("open_by_handle_at(2) EPERM: a user without CAP_DAC_READ_SEARCH")
def _(d):
    handle, root = sys_.name_to_handle(write_file(d / "it")), os.open(d, os.O_RDONLY)
    with acting_as(STRANGER):
        fails(EPERM, sys_.open_by_handle, root, handle)


# ---- statvfs, inotify --------------------------------------------------------------------------------

def facts(what, holds, d):
    st = os.statvfs(d)
    true(holds(st), f"{what}: {st}")


@table
def facts_of_the_file_system():
    for what, holds in (
            ("f_namemax is 255", lambda s: s.f_namemax == 255),
            ("f_bfree is not more than f_blocks", lambda s: s.f_bfree <= s.f_blocks),
            ("f_bavail is not more than f_bfree", lambda s: s.f_bavail <= s.f_bfree),
            ("f_ffree is not more than f_files", lambda s: s.f_ffree <= s.f_files),
            ("f_frsize divides what is told", lambda s: s.f_frsize > 0 and s.f_bsize % s.f_frsize == 0),
            ("ST_RDONLY is not set", lambda s: not s.f_flag & os.ST_RDONLY)):
        yield f"statvfs(3): {what}", facts, what, holds


@check("statvfs(3): the same by path, by descriptor, by another file")
def _(d):
    fd = os.open(write_file(d / "it"), os.O_RDONLY)
    told = {(s.f_bsize, s.f_frsize, s.f_blocks, s.f_namemax) for s in (os.statvfs(d), os.fstatvfs(fd),
        os.statvfs(d / "it"))}
    equal(len(told), 1)


@check("fpathconf(3): NAME_MAX, PATH_MAX, LINK_MAX")
def _(d):
    fd = os.open(d, os.O_RDONLY)
    equal((os.fpathconf(fd, "PC_NAME_MAX"), os.fpathconf(fd, "PC_PATH_MAX")), (255, 4096))
    true(os.fpathconf(fd, "PC_LINK_MAX") >= 8, "_POSIX_LINK_MAX is 8")


IN = dict(IN_ACCESS=1, IN_MODIFY=2, IN_ATTRIB=4, IN_CLOSE_WRITE=8, IN_CLOSE_NOWRITE=0x10, IN_OPEN=0x20,
          IN_MOVED_FROM=0x40, IN_MOVED_TO=0x80, IN_CREATE=0x100, IN_DELETE=0x200, IN_DELETE_SELF=0x400,
          IN_MOVE_SELF=0x800)


def notified(event, on, change, d):
    os.mkdir(d / "sub")
    write_file(d / "it", b"content")
    fd = sys_.libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    sys_.inotify_add_watch(fd, os.fsencode(d / on), IN[event])
    change(d)
    seen = []
    eventually(lambda: outcome(lambda: seen.append(os.read(fd, 4096))) != EAGAIN, event)
    mask = int.from_bytes(seen[0][4:8], "little")
    true(mask & IN[event], f"events {mask:#x}")


@table
def notifications():
    for event, on, story, change in (
            ("IN_CREATE", ".", "open(2) O_CREAT", lambda d: write_file(d / "new")),
            ("IN_CREATE", ".", "mkdir(2)", lambda d: os.mkdir(d / "new")),
            ("IN_DELETE", ".", "unlink(2)", lambda d: os.unlink(d / "it")),
            ("IN_DELETE", ".", "rmdir(2)", lambda d: os.rmdir(d / "sub")),
            ("IN_MODIFY", "it", "write(2)", lambda d: write_once(os.open(d / "it", os.O_WRONLY), b"x")),
            ("IN_MODIFY", "it", "truncate(2)", lambda d: os.truncate(d / "it", 1)),
            ("IN_ATTRIB", "it", "chmod(2)", lambda d: os.chmod(d / "it", 0o600)),
            ("IN_ATTRIB", "it", "chown(2)", lambda d: os.chown(d / "it", 1, 1)),
            ("IN_ATTRIB", "it", "setxattr(2)", lambda d: os.setxattr(d / "it", "user.n", b"v")),
            ("IN_ATTRIB", "it", "link(2)", lambda d: os.link(d / "it", d / "new")),
            ("IN_ACCESS", "it", "read(2)", lambda d: read_file(d / "it")),
            ("IN_OPEN", "it", "open(2)", lambda d: os.open(d / "it", os.O_RDONLY)),
            ("IN_CLOSE_WRITE", "it", "close(2)", lambda d: os.close(os.open(d / "it", os.O_WRONLY))),
            ("IN_CLOSE_NOWRITE", "it", "close(2)", lambda d: os.close(os.open(d / "it", os.O_RDONLY))),
            ("IN_MOVED_FROM", ".", "rename(2)", lambda d: os.rename(d / "it", d / "sub/it")),
            ("IN_MOVED_TO", "sub", "rename(2)", lambda d: os.rename(d / "it", d / "sub/it")),
            ("IN_MOVE_SELF", "it", "rename(2)", lambda d: os.rename(d / "it", d / "new")),
            ("IN_DELETE_SELF", "it", "unlink(2)", lambda d: os.unlink(d / "it"))):
        yield f"inotify(7) {event}: {story}", notified, event, on, change
