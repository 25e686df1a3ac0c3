/* SPDX-License-Identifier: Apache-2.0 */
/* Inode rows: what goes in comes out, in few bytes; what cannot be is refused. */
#include "metadata-server/inode.h"

#include <string.h>
#include <sys/stat.h>

#include "tests/check_main.h"

static struct ms_inode file(void)
{
	struct ms_inode i = { 0 };

	i.attr = (struct ms_attr){ .mode = S_IFREG | 0644, .uid = 1000, .gid = 1000, .nlink = 1,
				   .version = 7, .size = 100, .mtime_ns = 5, .ctime_ns = 6,
				   .btime_ns = 3, .atime_ns = 5 };
	i.attr.root = (struct root){ .kind = ROOT_BLOCK, .length = 100, .id = { { 1, 2, 3 } } };
	return i;
}

static void assert_round_trip(const struct ms_inode *in, size_t bytes)
{
	uint8_t row[MS_INODE_BYTES_MAX];
	struct ms_inode out;
	size_t len = ms_inode_encode(in, row);

	ck_assert_uint_eq(len, bytes);
	ck_assert_int_eq(ms_inode_decode(row, len, &out), 0);
	ck_assert_mem_eq(&out, in, sizeof out);
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_int_eq(ms_inode_decode(row, cut, &out), -E_CORRUPT);
}

START_TEST(a_usual_file_takes_80_bytes)
{
	struct ms_inode i = file();

	assert_round_trip(&i, 28 + 8 + 8 + 36);
	i.attr.atime_ns = 4;
	assert_round_trip(&i, 88);
}
END_TEST

START_TEST(every_part_may_be_there)
{
	struct ms_inode i = file();

	i.attr.nlink = 3;
	i.attr.atime_ns = -1;
	i.attr.size = 1000;
	i.attr.flags = 3;
	i.attr.root = (struct root){ .kind = ROOT_NODE, .depth = 2, .length = 999,
				     .cutter = 1, .data = 500,
				     .id = { { 9 } } };
	assert_round_trip(&i, 28 + 8 + 4 + 8 + 8 + 8 + 4 + 50);
	i.attr.recut_of = i.attr.root;
	i.attr.recut_of.depth = 1;
	i.attr.recut_of.cutter = 0;
	i.attr.recut_of.id.bytes[5] = 1;
	assert_round_trip(&i, 28 + 8 + 4 + 8 + 8 + 8 + 4 + 50 + 34);
}
END_TEST

START_TEST(directories_devices_and_empty_files)
{
	struct ms_inode i = { .attr = { .mode = S_IFDIR | 0755, .nlink = 2,
			      .size = MS_DIRECTORY_SIZE }, .parent = 1 };

	assert_round_trip(&i, 28 + 4 + 8 + 8);
	i = (struct ms_inode){ .attr = { .mode = S_IFCHR | 0600, .nlink = 1, .rdev = 259 } };
	assert_round_trip(&i, 28 + 4);
	i = (struct ms_inode){ .attr = { .mode = S_IFREG, .nlink = 1 } };
	assert_round_trip(&i, 28);
}
END_TEST

START_TEST(contradictions_are_corrupt)
{
	uint8_t row[MS_INODE_BYTES_MAX];
	struct ms_inode i = file(), out;
	size_t len = ms_inode_encode(&i, row);

	row[2] = 0;
	row[3] = S_IFDIR >> 8;		/* a directory with a root and without a parent */
	ck_assert_int_eq(ms_inode_decode(row, len, &out), -E_CORRUPT);
	len = ms_inode_encode(&i, row);
	row[1] |= 0x80;			/* a part that nobody knows */
	ck_assert_int_eq(ms_inode_decode(row, len, &out), -E_CORRUPT);
	len = ms_inode_encode(&i, row);
	memset(row + len - 32, 0, 32);	/* a block without an id */
	ck_assert_int_eq(ms_inode_decode(row, len, &out), -E_CORRUPT);
	len = ms_inode_encode(&i, row);
	row[len] = 0;			/* something behind it */
	ck_assert_int_eq(ms_inode_decode(row, len + 1, &out), -E_CORRUPT);
}
END_TEST

TEST_MAIN("inode",
	tcase_add_test(tc, a_usual_file_takes_80_bytes);
	tcase_add_test(tc, every_part_may_be_there);
	tcase_add_test(tc, directories_devices_and_empty_files);
	tcase_add_test(tc, contradictions_are_corrupt))
