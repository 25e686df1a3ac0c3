# SPDX-License-Identifier: Apache-2.0
"""Folders: readdir(3) and its positions, links, rename(2), and the *at() calls."""
import os
import stat
from errno import (EBADF, EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EXDEV)

import syscalls as sys_
from calls import CALLS, make_for
from suite import (Folder, Other, check, equal, exists, fails, name_of, outcome, read_all, read_file, table, true,
                   write_file, write_once)


def fill(d, count, width=0):
    names = {f"{i:0{width or 1}}" for i in range(count)}
    for name in names:
        os.mknod(d / name)
    return names


# ---- readdir -----------------------------------------------------------------------------------------

def lists_all(count, a, b):
    names = fill(a, count)
    equal(len(os.listdir(b)), count)
    equal(set(os.listdir(b)), names)


def lists_long_names(count, a, b):
    names = fill(a, count, 255)
    equal(set(os.listdir(b)), names)


@table
def counts_of_names():
    for count in (0, 1, 2, 100, 1500):
        yield f"readdir(3): {count} names, each once", lists_all, count
    yield "readdir(3): 200 names of 255 bytes", lists_long_names, 200


@check("readdir(3): '.' and '..' are there, with their inodes and types")
def _(a, b):
    os.mkdir(a / "sub")
    found = sys_.entries(b / "sub")
    equal(found, {".": (os.stat(a / "sub").st_ino, 4), "..": (os.stat(a).st_ino, 4)})


@check("readdir(3): d_ino is st_ino, for every name")
def _(a, b):
    fill(a, 60)
    for name, (ino, _) in sys_.entries(b).items():
        if name not in (".", ".."):
            equal(ino, os.stat(a / name).st_ino)


@check("telldir(3), seekdir(3): back to any place the rest is the same")
def _(d):
    fill(d, 300)
    stream = sys_.Dir(d)
    places, order = [], []
    while True:
        places.append(stream.tell())
        entry = stream.read()
        if entry is None:
            break
        order.append(entry)
    for i in (299, 0, 150, 7, 301):
        stream.seek(places[i])
        equal(stream.read(), order[i], f"entry {i}")
    stream.close()


@check("seekdir(3): places stay valid while other names go")
def _(d):
    names = sorted(fill(d, 300))
    stream = sys_.Dir(d)
    head = [stream.read()[0] for _ in range(100)]
    place = stream.tell()
    rest = {entry[0] for entry in stream.rest()}
    for name in names[::2]:
        os.unlink(d / name)
    stream.seek(place)
    got = {entry[0] for entry in stream.rest()}
    true(got <= rest, "names from before the place")
    true(rest - got <= set(names[::2]), "names that were not removed are missing")
    true(len(head) == 100, "head")
    stream.close()


@check("rewinddir(3): shows names that are new, and none that are gone")
def _(a, b):
    write_file(a / "old")
    stream = sys_.Dir(b)
    stream.rest()
    os.unlink(a / "old")
    write_file(a / "new")
    stream.rewind()
    equal({entry[0] for entry in stream.rest()}, {".", "..", "new"})
    stream.close()


@check("readdir(3): names that stay are told once, while others come and go")
def _(a, b):
    stay = {f"stay{i}" for i in range(400)}
    for name in stay:
        os.mknod(a / name)
    fill(a, 400)
    stream, seen = sys_.Dir(b), []
    for i in range(400):
        seen += [entry for entry in (stream.read(),) if entry]
        os.unlink(a / str(i))
        os.mknod(a / f"new{i}")
    seen += stream.rest()
    names = [name for name, _, _ in seen]
    equal(sorted(name for name in names if name in stay), sorted(stay))
    stream.close()


@check("readdir(3): removing each name as it is read removes all")
def _(d):
    fill(d, 500)
    stream = sys_.Dir(d)
    while entry := stream.read():
        if entry[0] not in (".", ".."):
            os.unlink(d / entry[0])
    stream.close()
    equal(os.listdir(d), [])


@check("readdir(3): rm -r style, page by page, leaves nothing")
def _(a, b):
    fill(a, 1200)
    while names := os.listdir(b):
        for name in names[:500]:
            os.unlink(b / name)
    equal(os.listdir(a), [])


@check("readdir(3): of a folder that was removed: nothing, or ENOENT")
def _(d):
    os.mkdir(d / "gone")
    fd = os.open(d / "gone", os.O_RDONLY)
    os.rmdir(d / "gone")
    try:
        equal(os.listdir(fd), [])
    except OSError as e:
        equal(e.errno, ENOENT)


@check("readdir(3): a rename while reading shows the file once or twice, never not at all")
def _(d):
    fill(d, 300)
    stream = sys_.Dir(d)
    seen = [stream.read()[0] for _ in range(50)]
    os.rename(d / "299", d / "renamed")
    seen += [entry[0] for entry in stream.rest()]
    true("299" in seen or "renamed" in seen, "neither name was told")
    stream.close()


@check("dirfd(3), fstat(2): the stream's descriptor is the folder")
def _(d):
    fd = os.open(d, os.O_RDONLY)
    equal(os.fstat(fd).st_ino, os.stat(d).st_ino)


@check("getdents(2): a second listing through one descriptor needs lseek(2) to 0")
def _(d):
    fill(d, 10)
    fd = os.open(d, os.O_RDONLY)
    first = len(os.listdir(fd))
    equal((first, len(os.listdir(fd))), (10, 10))       # listdir rewinds a dup of it


# ---- counts of links ---------------------------------------------------------------------------------

@check("stat(2) st_nlink: a folder has two and one for each sub-folder")
def _(a, b):
    for count in range(4):
        equal(os.stat(b).st_nlink, 2 + count)
        os.mkdir(a / str(count))


@check("stat(2) st_nlink: files in a folder do not count")
def _(a, b):
    fill(a, 5)
    equal(os.stat(b).st_nlink, 2)


@check("rmdir(2): the parent loses a link")
def _(a, b):
    os.mkdir(a / "sub")
    equal(os.stat(b).st_nlink, 3)
    os.rmdir(a / "sub")
    equal(os.stat(b).st_nlink, 2)


@check("rename(2): a folder's link moves from the old parent to the new one")
def _(a, b):
    for name in ("one", "two", "one/sub"):
        os.mkdir(a / name)
    equal((os.stat(b / "one").st_nlink, os.stat(b / "two").st_nlink), (3, 2))
    os.rename(a / "one/sub", a / "two/sub")
    equal((os.stat(b / "one").st_nlink, os.stat(b / "two").st_nlink), (2, 3))


@check("rename(2) over a folder: the parent of both loses a link")
def _(a, b):
    for name in ("one", "two"):
        os.mkdir(a / name)
    os.rename(a / "one", a / "two")
    equal(os.stat(b).st_nlink, 3)


@check("renameat2(2) RENAME_EXCHANGE: of a folder and a file moves a link")
def _(a, b):
    for name in ("one", "two", "one/sub"):
        os.mkdir(a / name)
    write_file(a / "two/file")
    sys_.renameat2(a / "one/sub", a / "two/file", sys_.RENAME_EXCHANGE)
    equal((os.stat(b / "one").st_nlink, os.stat(b / "two").st_nlink), (2, 3))


@check("link(2): a hundred names, counted on every one")
def _(a, b):
    write_file(a / "it")
    for i in range(99):
        os.link(a / "it", a / str(i))
    equal({os.stat(b / str(i)).st_nlink for i in range(99)}, {100})
    for i in range(50):
        os.unlink(a / str(i))
    equal(os.stat(b / "it").st_nlink, 50)


@check("link(2): both names are one content")
def _(a, b):
    write_file(a / "it", b"first")
    os.link(a / "it", a / "too")
    equal(read_file(b / "too"), b"first")
    write_file(a / "too", b"second")
    equal(read_file(b / "it"), b"second")


@check("link(2): through one name written, through the other read before close(2)")
def _(a, b):
    write_file(a / "it")
    os.link(a / "it", a / "too")
    fd = os.open(a / "it", os.O_WRONLY)
    write_once(fd, b"unclosed")
    equal(read_file(b / "too"), b"unclosed")


@check("link(2): across folders, both stay after either goes")
def _(a, b):
    os.mkdir(a / "sub")
    write_file(a / "it", b"content")
    os.link(a / "it", a / "sub/too")
    os.unlink(a / "it")
    equal(read_file(b / "sub/too"), b"content")


@check("linkat(2): a symbolic link itself, by default")
def _(a, b):
    os.symlink("target", a / "link")
    os.link(a / "link", a / "too", follow_symlinks=False)
    equal(os.readlink(b / "too"), "target")


@check("linkat(2) AT_SYMLINK_FOLLOW: the link's target")
def _(a, b):
    write_file(a / "target")
    os.symlink("target", a / "link")
    sys_.linkat(a / "link", a / "too", sys_.AT_SYMLINK_FOLLOW)
    equal(os.lstat(b / "too").st_ino, os.stat(a / "target").st_ino)


@check("linkat(2) ENOENT: AT_EMPTY_PATH of a file that has no name any more")
def _(d):
    fd = os.open(write_file(d / "it"), os.O_RDONLY)
    os.unlink(d / "it")
    fails(ENOENT, sys_.linkat, "", d / "back", sys_.AT_EMPTY_PATH, fd)


@check("link(2) EXDEV: to another file system")
def _(d):
    fails(EXDEV, os.link, write_file(d / "it"), "/dev/shm/posix-no-such-name")


@check("rename(2) EXDEV: to another file system")
def _(d):
    fails(EXDEV, os.rename, write_file(d / "it"), "/dev/shm/posix-no-such-name")
    true(exists(d / "it"), "it is gone")


# ---- rename ------------------------------------------------------------------------------------------

@check("rename(2): the new name is there at once, the old one is not")
def _(a, b):
    write_file(a / "old", b"content")
    os.stat(b / "old")
    fails(ENOENT, os.stat, b / "new")
    os.rename(a / "old", a / "new")
    fails(ENOENT, os.stat, b / "old")
    equal(read_file(b / "new"), b"content")


@check("rename(2) over a name: readers find the old or the new content, never nothing")
def _(a, b):
    write_file(a / "it", b"0" * 10)

    def script():
        yield "ready"
        for i in range(40):
            write_file(a / "new", b"%d" % (i % 10) * 10)
            os.rename(a / "new", a / "it")
        yield "done"
    other = Other(script)
    other.next()
    other.start()
    while other.is_waiting():
        content = read_file(b / "it")
        true(len(content) == 10 and len(set(content)) == 1, f"found {content}")
    other.wait()


@check("rename(2) over a name: an open descriptor keeps the old content")
def _(a, b):
    fd = os.open(write_file(b / "it", b"old"), os.O_RDONLY)
    write_file(a / "new", b"new")
    os.rename(a / "new", a / "it")
    equal((read_all(fd), read_file(b / "it")), (b"old", b"new"))
    equal(os.fstat(fd).st_nlink, 0)


@check("rename(2) of two names of one file does nothing")
def _(a, b):
    write_file(a / "it")
    os.link(a / "it", a / "too")
    os.rename(a / "it", a / "too")
    equal(sorted(os.listdir(b)), ["it", "too"])


@check("rename(2): a folder with its content")
def _(a, b):
    os.makedirs(a / "old/x/y")
    write_file(a / "old/x/y/it", b"deep")
    equal(read_file(b / "old/x/y/it"), b"deep")
    os.rename(a / "old", a / "new")
    equal(read_file(b / "new/x/y/it"), b"deep")
    fails(ENOENT, os.stat, b / "old/x/y/it")


@check("rename(2): an open folder's descriptor stays with the folder")
def _(a, b):
    os.mkdir(a / "old")
    fd = os.open(b / "old", os.O_RDONLY)
    os.rename(a / "old", a / "new")
    os.close(os.open("it", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    true(exists(a / "new/it"), "it was made elsewhere")


@check("rename(2) ENOTEMPTY: over a folder that is not empty")
def _(a, b):
    os.mkdir(a / "old")
    os.makedirs(a / "new/sub")
    fails((ENOTEMPTY, EEXIST), os.rename, a / "old", a / "new")
    equal(sorted(os.listdir(b)), ["new", "old"])


@check("rename(2) ENOTEMPTY: a name that another node just made there")
def _(a, b):
    for name in ("old", "new"):
        os.mkdir(a / name)
    os.listdir(a / "new")
    write_file(b / "new/fresh")
    fails((ENOTEMPTY, EEXIST), os.rename, a / "old", a / "new")


@check("rename(2): over a folder that another node just emptied")
def _(a, b):
    os.mkdir(a / "old")
    os.makedirs(a / "new/sub")
    os.rmdir(b / "new/sub")
    os.rename(a / "old", a / "new")
    equal(os.listdir(b), ["new"])


def into_itself(flags, old, new, d):
    os.makedirs(d / "x/y/z")
    fails(EINVAL, sys_.renameat2, d / old, d / new, flags)


@table
def renames_into_itself():
    for name, flags in (("rename(2)", 0), ("renameat2(2) RENAME_NOREPLACE", 1)):
        for story, old, new in (("its child", "x", "x/new"), ("a grandchild", "x", "x/y/z/new"),
            ("itself, by '..'", "x", "x/../x/n")):
            yield f"{name} EINVAL: a folder into {story}", into_itself, flags, old, new
    yield "renameat2(2) RENAME_EXCHANGE EINVAL: a folder with its child", into_itself, 2, "x", "x/y"
    yield "renameat2(2) RENAME_EXCHANGE EINVAL: a folder with its grandparent", into_itself, 2, "x/y/z", "x"


@check("rename(2) ENOTEMPTY: a folder over its own parent")
def _(d):
    os.makedirs(d / "x/y")
    fails((ENOTEMPTY, EEXIST), os.rename, d / "x/y", d / "x")


def dotted(call, codes, d):
    os.makedirs(d / "x/y")
    fails(codes, call, d)
    equal(os.listdir(d), ["x"])


@table
def dots():
    busy = (EBUSY, EINVAL)
    for story, call, codes in (
            ("rename(2) EBUSY: '.' as the old name", lambda d: os.rename(d / "x/.", d / "new"), busy),
            ("rename(2) EBUSY: '..' as the old name", lambda d: os.rename(d / "x/..", d / "new"), busy),
            ("rename(2) EBUSY: '.' as the new name", lambda d: os.rename(d / "x/y", d / "x/."), busy),
            ("rename(2) EBUSY: '..' as the new name", lambda d: os.rename(d / "x/y", d / "x/.."), busy),
            ("rmdir(2) EINVAL: '.' as the name", lambda d: os.rmdir(d / "x/y/."), EINVAL),
            ("rmdir(2) ENOTEMPTY: '..' as the name", lambda d: os.rmdir(d / "x/y/.."), ENOTEMPTY),
            ("mkdir(2) EEXIST: '.' as the name", lambda d: os.mkdir(d / "."), EEXIST),
            ("mkdir(2) EEXIST: '..' as the name", lambda d: os.mkdir(d / "x/.."), EEXIST),
            ("unlink(2) EISDIR: '.' as the name", lambda d: os.unlink(d / "."), (EISDIR, EPERM, EINVAL)),
            ("symlink(2) EEXIST: '.' as the name", lambda d: os.symlink("t", d / "."), EEXIST),
            ("link(2) EEXIST: '.' as the new name", lambda d: os.link(__file__, d / "."), (EEXIST, EXDEV))):
        yield story, dotted, call, codes


FLAGS = (
    ("RENAME_NOREPLACE|RENAME_EXCHANGE", 3, EINVAL), ("RENAME_EXCHANGE|RENAME_WHITEOUT", 6, EINVAL),
    ("an unknown flag", 0x80, EINVAL),
)


def flagged(flags, code, d):
    write_file(d / "old")
    write_file(d / "new")
    fails(code, sys_.renameat2, d / "old", d / "new", flags)


@table
def flags_of_rename():
    for story, flags, code in FLAGS:
        yield f"renameat2(2) {name_of(code)}: {story}", flagged, flags, code


@check("renameat2(2) RENAME_EXCHANGE ENOENT: the new name does not exist")
def _(d):
    fails(ENOENT, sys_.renameat2, write_file(d / "it"), d / "new", sys_.RENAME_EXCHANGE)


@check("renameat2(2) RENAME_EXCHANGE: readers of another node find both, always")
def _(a, b):
    write_file(a / "one", b"1")
    write_file(a / "two", b"2")

    def script():
        yield "ready"
        for _ in range(40):
            sys_.renameat2(a / "one", a / "two", sys_.RENAME_EXCHANGE)
        yield "done"
    other = Other(script)
    other.next()
    other.start()
    while other.is_waiting():
        os.stat(b / "one")
        os.stat(b / "two")
    other.wait()


@check("renameat2(2) RENAME_EXCHANGE: twice is as before")
def _(a, b):
    write_file(a / "one", b"1")
    os.mkdir(a / "two")
    for _ in range(2):
        sys_.renameat2(a / "one", a / "two", sys_.RENAME_EXCHANGE)
    equal((read_file(b / "one"), os.listdir(b / "two")), (b"1", []))


@check("renameat2(2) RENAME_WHITEOUT: a whiteout is left, or EINVAL")
def _(d):
    write_file(d / "it")
    try:
        sys_.renameat2(d / "it", d / "new", sys_.RENAME_WHITEOUT)
    except OSError as e:
        equal(e.errno, EINVAL)
        equal(os.listdir(d), ["it"])
    else:
        st = os.lstat(d / "it")
        equal((stat.S_ISCHR(st.st_mode), st.st_rdev, exists(d / "new")), (True, 0, True))


@check("renameat2(2) RENAME_NOREPLACE: one of two nodes gets the name")
def _(a, b):
    def script(folder, name):
        write_file(f"{folder}/{name}")
        yield "ready"
        yield outcome(sys_.renameat2, f"{folder}/{name}", f"{folder}/it", sys_.RENAME_NOREPLACE)
    others = [Other(script, a, "one"), Other(script, b, "two")]
    for other in others:
        other.next()
    for other in others:
        other.start()
    equal(sorted(other.wait() for other in others), [0, EEXIST])


# ---- rmdir and mkdir ---------------------------------------------------------------------------------

def not_empty(fill_it, d):
    os.mkdir(d / "it")
    fill_it(d / "it")
    fails((ENOTEMPTY, EEXIST), os.rmdir, d / "it")


@table
def folders_that_are_not_empty():
    for story, fill_it in (("a file", lambda p: os.mknod(p + "/x")), ("a folder", lambda p: os.mkdir(p + "/x")),
                           ("a symbolic link", lambda p: os.symlink("x", p + "/x")),
                           ("a hidden name", lambda p: os.mknod(p + "/.x")), ("a FIFO", lambda p: os.mkfifo(p + "/x"))):
        yield f"rmdir(2) ENOTEMPTY: {story} is in it", not_empty, fill_it


@check("rmdir(2) ENOTEMPTY: what another node made in it")
def _(a, b):
    os.mkdir(a / "it")
    os.listdir(a / "it")
    write_file(b / "it/fresh")
    fails((ENOTEMPTY, EEXIST), os.rmdir, a / "it")


@check("rmdir(2): what another node emptied")
def _(a, b):
    os.mkdir(a / "it")
    write_file(a / "it/x")
    os.unlink(b / "it/x")
    os.rmdir(a / "it")


def in_removed(make, d):
    os.mkdir(d / "gone")
    fd = os.open(d / "gone", os.O_RDONLY)
    os.rmdir(d / "gone")
    fails(ENOENT, make, fd, d)


@table
def removed_folders():
    for story, make in (("open(2) O_CREAT", lambda fd, d: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)),
                        ("mkdirat(2)", lambda fd, d: os.mkdir("x", dir_fd=fd)),
                        ("symlinkat(2)", lambda fd, d: os.symlink("t", "x", dir_fd=fd)),
                        ("mknodat(2)", lambda fd, d: os.mkfifo("x", dir_fd=fd)),
                        ("linkat(2)", lambda fd, d: os.link(write_file(d / "f"), "x", dst_dir_fd=fd)),
                        ("renameat(2)", lambda fd, d: os.rename(write_file(d / "f"), "x", dst_dir_fd=fd)),
                        ("fstatat(2) of a name", lambda fd, d: os.stat("x", dir_fd=fd))):
        yield f"{story} ENOENT: in a folder that was removed", in_removed, make


@check("fstat(2): a removed folder has no links")
def _(a, b):
    os.mkdir(a / "gone")
    fd = os.open(b / "gone", os.O_RDONLY)
    os.rmdir(a / "gone")
    equal(os.fstat(fd).st_nlink, 0)


@check("open(2) O_CREAT ENOENT: in a folder that another node removed")
def _(a, b):
    os.mkdir(a / "gone")
    fd = os.open(b / "gone", os.O_RDONLY)
    os.rmdir(a / "gone")
    fails(ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)


@check("mkdir(2): one of two nodes makes each of twenty folders")
def _(a, b):
    def script(folder):
        yield "ready"
        yield [outcome(os.mkdir, f"{folder}/{i}") for i in range(20)]
    others = [Other(script, a), Other(script, b)]
    for other in others:
        other.next()
    for other in others:
        other.start()
    equal([sorted(pair) for pair in zip(*[other.wait() for other in others])], 20 * [[0, EEXIST]])


@check("mkdir(2): a hundred folders deep, and back")
def _(a, b):
    path = a
    for _ in range(100):
        path = path / "d"
        os.mkdir(path)
    os.stat(b + path[len(a):])
    while path != a:
        os.rmdir(path)
        path = Folder(os.path.dirname(path))
    equal(os.listdir(b), [])


# ---- the *at() calls ---------------------------------------------------------------------------------

AT_CALLS = (
    ("openat(2)", "file", lambda n, fd, d: os.close(os.open(n, os.O_RDONLY, dir_fd=fd))),
    ("openat(2) O_CREAT", None, lambda n, fd, d: os.close(os.open(n, os.O_WRONLY | os.O_CREAT, dir_fd=fd))),
    ("mkdirat(2)", None, lambda n, fd, d: os.mkdir(n, dir_fd=fd)),
    ("mknodat(2)", None, lambda n, fd, d: os.mkfifo(n, dir_fd=fd)),
    ("symlinkat(2)", None, lambda n, fd, d: os.symlink("target", n, dir_fd=fd)),
    ("readlinkat(2)", "link", lambda n, fd, d: os.readlink(n, dir_fd=fd)),
    ("unlinkat(2)", "file", lambda n, fd, d: os.unlink(n, dir_fd=fd)),
    ("unlinkat(2) AT_REMOVEDIR", "folder", lambda n, fd, d: os.rmdir(n, dir_fd=fd)),
    ("fstatat(2)", "file", lambda n, fd, d: os.stat(n, dir_fd=fd)),
    ("statx(2) at a descriptor", "file", lambda n, fd, d: sys_.statx(n, fd=fd)),
    ("fchmodat(2)", "file", lambda n, fd, d: os.chmod(n, 0o600, dir_fd=fd)),
    ("fchownat(2)", "file", lambda n, fd, d: os.chown(n, 1, 1, dir_fd=fd)),
    ("utimensat(2) at a descriptor", "file", lambda n, fd, d: sys_.utimensat(n, (1, 1), (1, 1), 0, fd)),
    ("faccessat(2)", "file", lambda n, fd, d: sys_.faccessat(n, os.R_OK, 0, fd)),
    ("linkat(2) existing name", "file", lambda n, fd, d: os.link(n, d / "new", src_dir_fd=fd)),
    ("linkat(2) new name", None, lambda n, fd, d: os.link(d / "other", n, dst_dir_fd=fd)),
    ("renameat(2) old name", "file", lambda n, fd, d: os.rename(n, d / "new", src_dir_fd=fd)),
    ("renameat(2) new name", None, lambda n, fd, d: os.rename(d / "other", n, dst_dir_fd=fd)),
    ("name_to_handle_at(2) at a descriptor", "file", lambda n, fd, d: sys_.name_to_handle(n, 0, fd)),
    ("openat2(2) at a descriptor", "file", lambda n, fd, d: os.close(sys_.openat2(n, 0, 0, 0, fd))),
)


def at_folder(needs, call, flags, d):
    os.mkdir(d / "sub")
    write_file(d / "other")
    make_for(needs, d / "sub/it")
    call("it", os.open(d / "sub", flags), d)
    if needs is None:
        os.lstat(d / "sub/it")


def at_file(call, d):
    fails(ENOTDIR, call, "it", os.open(write_file(d / "other"), os.O_RDONLY), d)


def at_closed(call, d):
    write_file(d / "other")
    fails(EBADF, call, "it", 900, d)


def at_absolute(needs, call, d):
    """An absolute path takes no notice of the descriptor."""
    write_file(d / "other")
    make_for(needs, d / "it")
    call(d / "it", 900, d)


@table
def calls_at_descriptors():
    for story, needs, call in AT_CALLS:
        yield f"{story}: relative to a folder", at_folder, needs, call, os.O_RDONLY
        yield f"{story}: relative to an O_PATH descriptor", at_folder, needs, call, os.O_PATH
        yield f"{story} ENOTDIR: relative to a file", at_file, call
        yield f"{story} EBADF: relative to nothing", at_closed, call
        yield f"{story}: an absolute path needs no descriptor", at_absolute, needs, call


# ---- what is known of absence ------------------------------------------------------------------------

def absence_ends(make, name, a, b):
    write_file(a / "other")
    fails(ENOENT, os.lstat, b / name)
    true(name not in os.listdir(b), "it is listed")
    make(a / name, a)
    os.lstat(b / name)
    true(name in os.listdir(b), "it is not listed")


@table
def absence():
    for call in CALLS:
        if call.needs == "nothing":
            yield f"{call.name}: who knew that the name is absent finds it", absence_ends, call.call, "new"


def presence_ends(remove, a, b):
    make_for("file", a / "it")
    os.lstat(b / "it")
    os.listdir(b)
    remove(a / "it", a)
    fails(ENOENT, os.lstat, b / "it")
    true("it" not in os.listdir(b), "it is still listed")


@table
def presence():
    for story, remove in (("unlink(2)", lambda p, d: os.unlink(p)), ("rename(2)", lambda p, d: os.rename(p, d / "new")),
                          ("rename(2) to a folder", lambda p, d: (os.mkdir(d / "x"), os.rename(p, d / "x/it")))):
        yield f"{story}: who knew the name finds it gone", presence_ends, remove


@check("unlink(2), open(2) O_CREAT: a name that comes again is another file")
def _(a, b):
    write_file(a / "it", b"first")
    fd = os.open(b / "it", os.O_RDONLY)
    os.unlink(a / "it")
    write_file(a / "it", b"second")
    equal((read_all(fd), read_file(b / "it")), (b"first", b"second"))
    true(os.fstat(fd).st_ino != os.stat(b / "it").st_ino, "the inode came again while it was open")
