# SPDX-License-Identifier: Apache-2.0
"""Programs that make, move, compare and pack trees: git, tar, cp, mv, find, dpkg, overlayfs, editors."""
import os
import subprocess

import pytest

from conftest import LONG, MiB, seeded_bytes
from programs import make_tree, needs, package_folder, sh

GIT = "git -c user.name=t -c user.email=t@example.org -c safe.directory=*"
COMPARE = "rsync -aHAX --delete --dry-run --itemize-changes --checksum --numeric-ids"


@pytest.fixture
def here(shared, request):
    folder = shared.mnt / request.node.name[:60]
    folder.mkdir()
    return folder


def test_git_sees_at_once_that_nothing_changed(shared, here, tmp_path):
    """What git notes of a file while it writes it holds for good: else it reads each again, or calls it changed."""
    needs("git")
    source = tmp_path / "source"
    source.mkdir()
    for i in range(100):
        (source / f"file{i}").write_bytes(seeded_bytes(900 * i, i))
    sh(f"git init -q . && {GIT} add . && {GIT} commit -qm one && {GIT} checkout -q -b two && echo >>file1 && "
       f"{GIT} commit -qam two", source)
    sh(f"{GIT} clone -q file://{source} copy", here)
    there = shared.mnt2 / here.name / "copy"
    for copy in (here / "copy", there):
        assert sh(f"{GIT} diff-files && {GIT} diff-index HEAD", copy) == ""     # neither looks into files
    sh(f"{GIT} worktree add -q ../tree origin/HEAD~1 && cd ../tree && {GIT} diff-files && echo >>file2 && "
       f"{GIT} commit -qam three", here / "copy")
    sh(f"{GIT} merge -q -m merged $({GIT} -C ../tree rev-parse HEAD) && {GIT} diff-index --quiet HEAD", there)
    sh(f"{GIT} gc -q --prune=now && {GIT} fsck --full --strict && {GIT} worktree remove ../tree", here / "copy")
    assert sh(f"{GIT} status --porcelain && {GIT} fsck --full 2>&1", there) == ""


def test_a_source_tree_comes_out_as_it_went_in(shared, here, tmp_path):
    """tar -d compares content, size, mode, owner and mtime: of Linux, or else of Python, two thousand files."""
    if LONG:
        archives = sorted(package_folder("linux-source-6.1").glob("usr/src/*.tar.xz"))
        sh(f"xz -dc {archives[0]} >{tmp_path}/tree.tar", here, timeout=300)
    else:
        sh(f"tar -cf {tmp_path}/tree.tar --exclude='*.pyc' -C /usr lib/python3.11", here)
    sh(f"tar -xpf {tmp_path}/tree.tar --numeric-owner", here, timeout=1200)
    for folder in (here, shared.mnt2 / here.name):
        assert sh(f"tar -df {tmp_path}/tree.tar --numeric-owner", folder, timeout=1200) == ""
    (tmp_path / "tree.tar").unlink()


def test_copies_and_moves_of_a_tree_are_the_tree(shared, here, tmp_path):
    needs("rsync")
    make_tree(tmp_path / "tree")
    sh(f"cp -a {tmp_path}/tree in && cp -a in copy && mv copy moved && mv moved {tmp_path}/out && "
       f"mv {tmp_path}/out back", here)
    there = shared.mnt2 / here.name
    for name in ("in", "back"):
        assert sh(f"{COMPARE} {tmp_path}/tree/ {name}/", there) == ""
    assert (there / "in/sparse").stat().st_blocks < 1000        # of 100,000


def test_newer_files_are_found_and_saved(shared, here):
    """find -newer and incremental tar go by mtime and ctime, of files and of directories."""
    there = shared.mnt2 / here.name
    for i in range(30):
        (here / f"tree/{i % 3}").mkdir(parents=True, exist_ok=True)
        (here / f"tree/{i % 3}/file{i}").write_text(f"{i}")
    sh("tar --no-check-device -g snap -cf full.tar tree && touch stamp", here)
    sh("echo more >>tree/1/file1; chmod 600 tree/2/file2; rm tree/0/file0; mv tree/1/file4 tree/2/renamed; "
       "mkdir tree/new; touch -d 2001-01-01 tree/0/file3", there)
    assert sorted(sh("find tree -newer stamp -type f", here).split()) == ["tree/1/file1"]
    changed = {"tree/1/file1", "tree/2/file2", "tree/2/renamed", "tree/0/file3"}
    assert set(sh("find tree -newercm stamp -type f", here).split()) == changed
    sh("tar --no-check-device -g snap -cf more.tar tree", here)
    assert {name for name in sh("tar -tf more.tar", here).split() if not name.endswith("/")} == changed
    sh("mkdir restored; cd restored; tar -g /dev/null -xf ../full.tar; tar -g /dev/null -xf ../more.tar", here)
    sh("diff -r tree restored/tree", here)


def test_dpkg_installs_and_purges_below_a_root(here, tmp_path):
    needs("dpkg", "dpkg-deb")
    build = tmp_path / "build"
    (build / "DEBIAN").mkdir(parents=True)
    (build / "etc").mkdir()
    (build / "etc/thing.conf").write_text("new = 1\n")
    for i in range(100):
        folder = build / f"usr/share/thing/{i % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{i}").write_bytes(seeded_bytes(137 * i, i))
    (build / "DEBIAN/conffiles").write_text("/etc/thing.conf\n")
    for version in (1, 2):
        (build / "DEBIAN/control").write_text(f"Package: thing\nVersion: {version}\nArchitecture: all\n"
                                              "Maintainer: Nobody <nobody@example.org>\nDescription: a thing\n")
        (build / f"usr/share/thing/only-in-{version}").touch()
        sh(f"dpkg-deb --root-owner-group -b {build} {tmp_path}/thing{version}.deb", here)
        (build / f"usr/share/thing/only-in-{version}").unlink()
    dpkg = f"dpkg --root={here} --force-not-root --force-script-chrootless --log={tmp_path}/log"
    sh("mkdir -p var/lib/dpkg/info var/lib/dpkg/updates; touch var/lib/dpkg/status", here)
    sh(f"{dpkg} -i {tmp_path}/thing1.deb && echo mine >>etc/thing.conf", here)
    sh(f"{dpkg} --force-confold -i {tmp_path}/thing2.deb", here)
    assert (here / "usr/share/thing/only-in-2").exists() and not (here / "usr/share/thing/only-in-1").exists()
    assert (here / "etc/thing.conf").read_text() == "new = 1\nmine\n"
    assert sh(f"{dpkg} --verify thing", here).split() == ["??5??????", "c", "/etc/thing.conf"]
    sh(f"{dpkg} --purge thing", here)
    assert not (here / "usr").exists() and not (here / "etc").exists()


def overlay(lower, upper, work, at):
    done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                           f"lowerdir={lower},upperdir={upper},workdir={work}", at], check=False)
    if done.returncode:
        pytest.skip("no overlayfs here")


@pytest.mark.parametrize("upper", ["local", "mount"])
def test_containers_put_layers_on_the_mount(here, tmp_path, upper):
    above = {"local": tmp_path, "mount": here}[upper]
    for folder in (here / "lower", above / "upper", above / "work", tmp_path / "merged"):
        folder.mkdir()
    make_tree(here / "lower/tree")
    merged = tmp_path / "merged"
    if upper == "local":            # the folder for temporary files may be an overlay itself
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "upper"], check=True)
        above = tmp_path / "upper"
        (above / "upper").mkdir()
        (above / "work").mkdir()
    try:
        overlay(here / "lower", above / "upper", above / "work", merged)
        sh("cd tree; echo more >>sub/file3; chmod 640 sub/file4; rm -r sub/deep; mv sub/file5 moved; ln link2 2>/dev/null "
           "|| true; rm link; mkdir sub/deep; echo new >sub/deep/new; truncate -s 10M sparse", merged)
        sizes = {name: (merged / "tree" / name).stat().st_size for name in ("sub/file3", "moved", "sparse", "sub/deep/new")}
        assert sizes == {"sub/file3": 65_541, "moved": MiB(1) + 1, "sparse": MiB(10), "sub/deep/new": 4}
        assert sorted(os.listdir(merged / "tree/sub/deep")) == ["new"]
        assert not os.path.lexists(merged / "tree/link") and os.path.lexists(here / "lower/tree/link")
        assert (here / "lower/tree/sub/file3").stat().st_size == 65_536
    finally:
        subprocess.run(["umount", "-l", merged], check=False, stderr=subprocess.DEVNULL)
        if upper == "local":
            subprocess.run(["umount", "-l", above], check=False)


def test_editors_save_without_losing_owner_links_or_content(shared, here):
    """By rename over the old file, and in place beside a swap file."""
    there = shared.mnt2 / here.name
    (here / "text").write_text("one\ntwo\n")
    (here / "text").chmod(0o640)
    os.chown(here / "text", 1000, 1000)
    os.link(here / "text", here / "hard")
    sh("sed -i s/one/1/ text", there)               # a new inode of the same owner and mode
    st = (here / "text").stat()
    assert (st.st_uid, st.st_mode & 0o777, st.st_nlink) == (1000, 0o640, 1)
    assert ((here / "text").read_text(), (here / "hard").read_text()) == ("1\ntwo\n", "one\ntwo\n")
    needs("vim.tiny")
    with (here / "hard").open() as old:
        sh("vim.tiny -u NONE -n -es -c '%s/two/2/' -c wq hard", there)
        assert (here / "hard").read_text() == "one\n2\n" == old.read()
    edit = "vim.tiny -u NONE -es -c 'set directory=.'"
    sh(f"{edit} -c 'preserve' -c '!ls .hard.swp >seen' -c '%s/one/1/' -c wq hard", there)
    assert (here / "seen").read_text() == ".hard.swp\n" and not (here / ".hard.swp").exists()
    assert (here / "hard").read_text() == "1\n2\n"
