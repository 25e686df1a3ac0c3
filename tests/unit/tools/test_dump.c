/* SPDX-License-Identifier: Apache-2.0 */
/* What is on disk is shown; what is damaged is said; hostile bytes only ever lead to a message. */
#include "fs/base/log.h"
#include "tests/check_main.h"
#include "tests/unit/tools/fsck_world.h"
#include "tools/dump.h"

static struct fsck_world world;
static char *shown;

static void setup(void)
{
	world_init(&world);
	world_stop(&world);
}

static void teardown(void)
{
	world_finish(&world);
	free(shown);
	shown = NULL;
}

static int dump(const char *name, bool json, bool deep)
{
	size_t len;
	struct dump_options o = { .json = json, .deep = deep };
	struct error err = { 0 };
	int rc;

	free(shown);
	o.out = open_memstream(&shown, &len);
	rc = dump_path(scratch_path(&world.scratch, name), &o, &err);
	fclose(o.out);
	return rc;
}

START_TEST(every_structure_of_a_cluster_is_shown)
{
	static const char *const words[] = {
		"superblock role=metadata hash=sha256 copies=3",
		"superblock role=chunk",
		"journal",
		"snapshot",
		"segment",
		"record",
		"footer",
		"unsealed",
		"rows",
	};

	ck_assert_int_eq(dump("", false, false), 0);
	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		ck_assert_msg(strstr(shown, words[i]), "%s", words[i]);
	ck_assert_ptr_null(strstr(shown, "DAMAGED"));
}
END_TEST

START_TEST(deep_shows_the_changes_of_a_record)
{
	ck_assert_int_eq(dump("mds/journal/J-0000000000000001", false, false), 0);
	ck_assert_ptr_null(strstr(shown, " put "));
	ck_assert_int_eq(dump("mds/journal/J-0000000000000001", false, true), 0);
	ck_assert_ptr_nonnull(strstr(shown, " put "));
}
END_TEST

START_TEST(json_is_one_object_a_line)
{
	ck_assert_int_eq(dump("cs1/super", true, false), 0);
	ck_assert_int_eq(shown[0], '{');
	ck_assert_ptr_nonnull(strstr(shown, "\"what\":\"superblock\""));
	ck_assert_ptr_eq(strchr(shown, '\n'), shown + strlen(shown) - 1);
}
END_TEST

START_TEST(a_manifest_node_is_shown)
{
	struct codec_scratch *codec = codec_scratch_create();
	uint8_t plain[BLOCK_BYTES_MAX];
	struct record r;

	ck_assert_int_eq(record_open(codec, HASH_SHA256, world.records[WORLD_BLOCKS],
				     world.lengths[WORLD_BLOCKS], true, &r, plain),
			 0);
	ck_assert_int_eq(disk_replace_file(world.mds, "node", plain, r.plain_len), 0);
	ck_assert_int_eq(disk_replace_file(world.mds, "block", world.records[0], world.lengths[0]),
			 0);
	ck_assert_int_eq(dump("mds/node", false, false), 0);
	ck_assert_ptr_nonnull(strstr(shown, "level=0 entries=3"));
	ck_assert_int_eq(dump("mds/block", false, false), 0);
	codec_scratch_destroy(codec);
}
END_TEST

START_TEST(damage_is_said)
{
	static const struct {
		const char *name;
		uint64_t offset;
	} at[] = {
		{"mds/super", 30},
		{"cs1/segments/seg-0000000000000001", 20},
		{"cs1/segments/seg-0000000000000001", 90},
		{"mds/journal/J-0000000000000001", 30},
		{"mds/journal/J-0000000000000001", 90},
		{"mds/snapshots/S-0000000000000000", 40},
		{"mds/snapshots/S-0000000000000000", SNAPSHOT_HEADER_BYTES + 1},
	};

	world_flip(&world, at[_i].name, at[_i].offset);
	ck_assert_int_eq(dump(at[_i].name, false, false), -E_CORRUPT);
	ck_assert_ptr_nonnull(strstr(shown, "DAMAGED"));
}
END_TEST

START_TEST(strangers_are_refused)
{
	ck_assert_int_eq(disk_replace_file(world.mds, "notes", "hello", 5), 0);
	ck_assert_int_eq(dump("mds/notes", false, false), -E_BAD_MAGIC);
	ck_assert_int_eq(dump("mds/absent", false, false), -E_NOENT);
	ck_assert_int_eq(disk_replace_file(world.mds, "short", "CRNS", 4), 0);
	ck_assert_int_eq(dump("mds/short", false, false), -E_CORRUPT);
}
END_TEST

/* A few bytes turned at random, or the end cut off: any answer will do, but there is one. */
START_TEST(hostile_bytes_are_survived)
{
	static const char *const files[] = {"super", "journal/J-0000000000000001",
					    "snapshots/S-0000000000000000"};
	static uint8_t bytes[1 << 18], hostile[1 << 18];
	struct disk_file *file;
	int len;

	srandom((unsigned)_i + 1);
	ck_assert_int_eq(disk_open(_i % 4 == 3 ? world.cs[0] : world.mds,
				   _i % 4 == 3 ? "segments/seg-0000000000000001" : files[_i % 4],
				   DISK_READ, &file),
			 0);
	len = disk_read(file, bytes, sizeof bytes, 0);
	disk_close(file);
	ck_assert_int_gt(len, 0);
	for (int round = 0; round < 40; round++) {
		uint32_t cut = (uint32_t)(random() % 4 ? len : 1 + random() % len);

		memcpy(hostile, bytes, (size_t)len);
		for (long turns = random() % 6; turns > 0; turns--)
			hostile[8 + random() % (round % 2 ? len - 8 : 120)] = (uint8_t)random();
		ck_assert_int_eq(disk_replace_file(world.mds, "hostile", hostile, cut), 0);
		ck_assert_int_le(dump("mds/hostile", _i % 2, true), 0);
	}
}
END_TEST

TEST_MAIN("dump", log_init("test_dump", LOG_LEVEL_ERROR);
	  tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, every_structure_of_a_cluster_is_shown);
	  tcase_add_test(tc, deep_shows_the_changes_of_a_record);
	  tcase_add_test(tc, json_is_one_object_a_line);
	  tcase_add_test(tc, a_manifest_node_is_shown);
	  tcase_add_loop_test(tc, damage_is_said, 0, 7); tcase_add_test(tc, strangers_are_refused);
	  tcase_add_loop_test(tc, hostile_bytes_are_survived, 0, 8))
