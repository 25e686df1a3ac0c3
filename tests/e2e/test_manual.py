# SPDX-License-Identifier: Apache-2.0
"""The tables of the manual are those of the code."""
import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parents[2]


def settings_of_the_code():
    rows = re.findall(r'^X\((\w+), (\w+), \w+, "([^"]*)"', (TOP / "fs/base/options.def").read_text(), re.M)
    return [(section, key, default or r"\&") for section, key, default in rows]


def settings_of_the_page():
    section, rows = None, []
    for line in (TOP / "man/cairn.conf.5").read_text().splitlines():
        if head := re.fullmatch(r"\.Ss \[(\w+)\]", line):
            section = head[1]
        elif item := re.fullmatch(r"\.It Cm (\w+) No = Ar (.+)", line):
            rows.append((section, item[1], item[2]))
    return rows


def test_cairn_conf_lists_every_setting_with_its_default():
    assert len(settings_of_the_code()) > 30
    assert settings_of_the_page() == settings_of_the_code()


def test_cairn_format_names_every_magic():
    page = (TOP / "man/cairn-format.5").read_text()
    magics = {"CAIRNFS1"}
    for source in ["fs/disk", "fs/tree"]:
        for header in (TOP / source).glob("*.h"):
            magics.update(re.findall(r'magic "(\w+)"', header.read_text()))
    assert len(magics) >= 9
    for magic in magics:
        assert rf"\(dq{magic}\(dq" in page, magic
