/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system without fault is clean; one turned byte, one missing file, one wrong row, wherever
 * it is, is named and never called clean; what repair mends is clean the second time.
 */
#include "chunk-server/store.h"
#include "fs/base/log.h"
#include "fs/io/view.h"
#include "tests/check_main.h"
#include "tests/unit/tools/fsck_world.h"
#include "tools/fsck.h"

static struct fsck_world world;

static void setup(void)
{
	world_init(&world);
}

static void teardown(void)
{
	world_finish(&world);
}

static int check(bool repair, struct fsck_result *out)
{
	char mds[300], cs[WORLD_SERVERS][300];
	struct fsck_options o = { .metadata_dirs = { mds }, .metadata_dir_count = 1,
				  .disk_count = WORLD_SERVERS, .scratch_dir = world.scratch.path,
				  .repair = repair };
	struct error err = { 0 };
	int rc;

	world_stop(&world);
	snprintf(mds, sizeof mds, "%s/mds", world.scratch.path);
	for (uint32_t i = 0; i < WORLD_SERVERS; i++) {
		snprintf(cs[i], sizeof cs[i], "%s/cs%u", world.scratch.path, i + 1);
		o.disk_dirs[i] = cs[i];
	}
	rc = fsck_check(&o, out, &err);
	ck_assert_msg(rc == 0, "%s", err.text);
	return rc;
}

static void dump_faults(const struct fsck_result *r)
{
	char *text = json_dumps(json_object_get(r->json, "faults"), JSON_INDENT(2));

	fprintf(stderr, "%s\n", text);
	free(text);
}

/* A fault of class c that says `subject` somewhere. */
static bool names(const struct fsck_result *r, enum fsck_class c, const char *subject)
{
	json_t *fault;
	size_t i;

	json_array_foreach(json_object_get(r->json, "faults"), i, fault) {
		const char *class = json_string_value(json_object_get(fault, "class"));
		const char *what = json_string_value(json_object_get(fault, "subject"));
		const char *text = json_string_value(json_object_get(fault, "text"));

		if (strcmp(class, fsck_class_name(c)) == 0 &&
		    (strstr(what, subject) || strstr(text, subject)))
			return true;
	}
	dump_faults(r);
	return false;
}

static void expect_fault(enum fsck_class c, const char *subject)
{
	struct fsck_result r;

	check(false, &r);
	ck_assert_uint_gt(r.fault_count, 0);
	ck_assert(names(&r, c, subject));
	fsck_result_finish(&r);
}

static void expect_clean(void)
{
	struct fsck_result r;

	check(false, &r);
	if (r.fault_count)
		dump_faults(&r);
	ck_assert_uint_eq(r.fault_count, 0);
	ck_assert_uint_eq(r.corrected_count, 0);
	fsck_result_finish(&r);
}

/* Repair leaves nothing, and a second look agrees. */
static void expect_mended(void)
{
	struct fsck_result r;

	check(true, &r);
	if (r.fault_count)
		dump_faults(&r);
	ck_assert_uint_eq(r.fault_count, 0);
	ck_assert_uint_gt(r.corrected_count, 0);
	fsck_result_finish(&r);
	expect_clean();
}

static const char *segment(unsigned server)
{
	static char name[64];

	snprintf(name, sizeof name, "cs%u/segments/seg-0000000000000001", server);
	return name;
}

/* --- clean ------------------------------------------------------------------------------------ */

START_TEST(a_sound_file_system_is_clean)
{
	struct fsck_result r;

	check(false, &r);
	if (r.fault_count)
		dump_faults(&r);
	ck_assert_uint_eq(r.fault_count, 0);
	ck_assert_uint_eq(r.files, 3);
	ck_assert_uint_eq(r.directories, 2);
	ck_assert_uint_eq(r.names, 4);
	ck_assert_uint_eq(r.records, 12);
	ck_assert_uint_eq(r.blocks, 4);
	fsck_result_finish(&r);
}
END_TEST

START_TEST(torn_tails_are_clean)
{
	struct disk_file *file;
	uint64_t bytes;

	ck_assert_int_eq(disk_open(world.mds, "journal/J-0000000000000001", DISK_WRITE, &file), 0);
	ck_assert_int_eq(disk_size(file, &bytes), 0);
	ck_assert_int_eq(disk_write(file, "CRNJtorn", 8, bytes), 0);
	disk_close(file);
	ck_assert_int_eq(disk_open(world.cs[1], "segments/seg-0000000000000001", DISK_WRITE, &file),
			 0);
	ck_assert_int_eq(disk_write(file, "CRNRtorn", 8, world.tail), 0);
	disk_close(file);
	expect_clean();
}
END_TEST

START_TEST(a_directory_in_use_is_refused)
{
	char mds[300];
	struct fsck_options o = { .metadata_dirs = { mds }, .metadata_dir_count = 1,
				  .scratch_dir = world.scratch.path };
	struct fsck_result r;
	struct error err = { 0 };

	snprintf(mds, sizeof mds, "%s/mds", world.scratch.path);
	ck_assert_int_eq(disk_lock(world.mds), 0);
	ck_assert_int_eq(fsck_check(&o, &r, &err), -E_BUSY);
	fsck_result_finish(&r);
}
END_TEST

/* --- metadata --------------------------------------------------------------------------------- */

START_TEST(a_turned_byte_in_a_superblock)
{
	world_flip(&world, "mds/super", 20);
	expect_fault(FSCK_SUPERBLOCK, "/mds");
	expect_mended();
	world_flip(&world, "cs2/super", 20);
	expect_fault(FSCK_SUPERBLOCK, "/cs2");
	expect_mended();
}
END_TEST

START_TEST(a_turned_byte_in_the_middle_of_the_journal)
{
	world_flip(&world, "mds/journal/J-0000000000000001", JOURNAL_FILE_HEADER_BYTES + 60);
	expect_fault(FSCK_JOURNAL, "J-0000000000000001");
	expect_mended();
}
END_TEST

START_TEST(a_missing_journal)
{
	ck_assert_int_eq(disk_unlink(world.mds, "journal/J-0000000000000001"), 0);
	expect_fault(FSCK_PLACEMENT, "the map does not know");
}
END_TEST

START_TEST(a_turned_byte_in_a_snapshot)
{
	world_flip(&world, "mds/snapshots/S-0000000000000000", SNAPSHOT_HEADER_BYTES + 12);
	expect_fault(FSCK_SNAPSHOT, "S-0000000000000000");
}
END_TEST

START_TEST(a_bad_snapshot_is_replaced_from_an_older_one)
{
	world_snapshot(&world);
	world_flip(&world, "mds/snapshots/S-0000000000000002", 200);
	expect_fault(FSCK_SNAPSHOT, "S-0000000000000002");
	expect_mended();
}
END_TEST

/* Make a view with these rows, closed cleanly at the journal's end. */
static void make_view(bool is_closed)
{
	char path[300];
	struct view_state state;
	struct rows_snapshot *s;
	struct rows *rows;
	struct row row;

	snprintf(path, sizeof path, "%s/mds/rows", world.scratch.path);
	ck_assert_int_eq(ms_txn_flush(world.txn), 0);
	ck_assert_int_eq(rows_commit(world.rows), 0);
	ck_assert_int_eq(view_open(path, &state), 0);
	ck_assert_int_eq(rows_lmdb_create(path, MiB(64), &rows), 0);
	ck_assert_int_eq(rows_snapshot_open(world.rows, &s), 0);
	while (rows_snapshot_next(s, &row) == 1)
		ck_assert_int_eq(rows_put(rows, row.key, row.key_len, row.value, row.value_len), 0);
	rows_snapshot_close(s);
	ck_assert_int_eq(ms_snapshot_set_applied(rows, 1, ms_journal_last(world.journal)), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	rows_destroy(rows);
	if (is_closed)
		ck_assert_int_eq(view_close_clean(path, (struct view_position){ 1, 2 }), 0);
	else
		ck_assert_int_eq(view_built(path), 0);
}

/* /note lies in the trash of /models, which says it has `entries`. */
static void delete_note(uint64_t entries, bool has_entry)
{
	struct ms_inode note = world_inode(INO_NOTE, S_IFREG | 0644, 0, 4);
	struct ms_trash trash = { .keep_ms = 1000, .entries = entries, .bytes = 4, .is_on = true };
	struct ms_trash_entry entry = { .ino = INO_NOTE, .time_ns = 7, .bytes = 4,
					.path = { (const uint8_t *)"note", 4 } };
	uint8_t value[MS_TRASH_ENTRY_BYTES_MAX];
	struct ms_dir_slot slot = { .dir = INODE_ROOT, .name = entry.path };

	slot.hash = checksum_name(WORLD_KEY, slot.name.bytes, slot.name.len);
	ms_dir_del(world.txn, &slot);
	note.attr.root = (struct root){ .kind = ROOT_INLINE, .length = 4 };
	note.trash = INO_MODELS;
	ms_inode_put(world.txn, &note);
	ms_key_trash_encode(&trash, value);
	world_put(&world, ms_key_trash(MS_TRASH_TREE, INO_MODELS), value, MS_TRASH_BYTES);
	if (has_entry)
		world_put(&world, ms_key_trash_entry(INO_MODELS, 7, INO_NOTE), value,
			  ms_key_trash_entry_encode(&entry, value));
	world_commit(&world);
}

START_TEST(what_lies_in_a_trash_needs_no_name)
{
	delete_note(1, true);
	expect_clean();
}
END_TEST

START_TEST(a_trash_is_counted)
{
	delete_note(2, true);
	expect_fault(FSCK_ROW, "counts its entries wrongly");
	expect_mended();
}
END_TEST

START_TEST(what_no_trash_names_gets_a_name)
{
	delete_note(1, false);
	expect_fault(FSCK_LINKS, "has no name");
	expect_mended();
}
END_TEST

/* /note is a clone that is not shown yet, or what is left of one. */
START_TEST(a_clone_that_is_not_shown_needs_no_name)
{
	struct ms_name name = { (const uint8_t *)"note", 4 };
	struct ms_dir_slot slot = { .dir = INODE_ROOT, .name = name };
	struct ms_clone_value clone = { .source = INO_A, .parent = INODE_ROOT, .session = 1,
					.state = MS_CLONE_BUILT };
	uint8_t value[MS_CLONE_VALUE_BYTES];

	slot.hash = checksum_name(WORLD_KEY, name.bytes, name.len);
	ms_dir_del(world.txn, &slot);
	ms_key_clone_encode(&clone, value);
	if (!_i)
		world_put(&world, ms_key_number(MS_KEY_CLONE, INO_NOTE), value, sizeof value);
	world_commit(&world);
	if (!_i) {
		expect_clean();
	} else {
		expect_fault(FSCK_LINKS, "has no name");
		expect_mended();
	}
}
END_TEST

START_TEST(a_view_that_a_crash_left_behind_is_compared)
{
	struct ms_key key = ms_key_number(MS_KEY_BYTES, INO_NOTE);

	ck_assert_int_eq(ms_txn_flush(world.txn), 0);
	if (_i) {	/* in the rows, not in the journal */
		ck_assert_int_eq(rows_put(world.rows, key.bytes, key.len, "NOTE", 4), 0);
		ck_assert_int_eq(rows_commit(world.rows), 0);
	}
	make_view(false);
	world_put(&world, ms_key_number(MS_KEY_BYTES, INO_LINK), "nope", 4);
	world_commit(&world);
	if (_i) {
		expect_fault(FSCK_VIEW, "up to where it stands");
		expect_mended();
	} else {
		expect_clean();
	}
}
END_TEST

START_TEST(a_view_is_compared_with_the_truth)
{
	struct ms_key key = ms_key_number(MS_KEY_BYTES, INO_NOTE);

	make_view(true);
	expect_clean();
	ck_assert_int_eq(rows_put(world.rows, key.bytes, key.len, "NOTE", 4), 0);
	ck_assert_int_eq(rows_commit(world.rows), 0);
	world_finish(&world);
	world_init(&world);
	world_put(&world, key, "NOTE", 4);	/* in the rows, not in the journal */
	make_view(true);
	expect_fault(FSCK_VIEW, "/rows");
	expect_mended();
}
END_TEST

START_TEST(a_journal_that_ends_before_its_view)
{
	uint64_t bytes;
	struct disk_file *file;

	make_view(true);
	ck_assert_int_eq(disk_open(world.mds, "journal/J-0000000000000001", DISK_WRITE, &file), 0);
	ck_assert_int_eq(disk_size(file, &bytes), 0);
	disk_close(file);
	world_flip(&world, "mds/journal/J-0000000000000001", bytes - 1);
	expect_fault(FSCK_JOURNAL, "later ones");
}
END_TEST

static void poll_idle(struct loop_timer *timer);

static struct {
	struct loop_timer timer;
	const struct cs_store *store;
} waiting = { .timer.fn = poll_idle };

static void poll_idle(struct loop_timer *timer)
{
	if (cs_store_is_idle(waiting.store))
		loop_uv_stop(world.loop);
	else
		loop_timer_start(world.loop, timer, 1);
}

enum forget { FORGET_NOTHING, FORGET_ROW, FORGET_IN_ORDER };

/*
 * The index that a chunk server on cs2 would leave behind, one block of it forgotten if so wished.
 */
static void make_index(enum forget forget)
{
	char path[300];
	struct cs_store_options o = { .loop = world.loop, .disk = world.cs[1], .hash = HASH_SHA256,
				      .segment_bytes = MiB(1), .sync_ms = 100, .sync_bytes = MiB(1),
				      .full_percent = 99 };
	struct view_state state;
	struct cs_store *store;
	struct cs_place place;
	struct error err = { 0 };
	uint8_t key[1 + BLOCK_ID_BYTES];

	snprintf(path, sizeof path, "%s/cs2/index", world.scratch.path);
	memcpy(o.cluster, world.super.cluster, sizeof o.cluster);
	memset(o.disk_uuid, 0x11, sizeof o.disk_uuid);
	ck_assert_int_eq(view_open(path, &state), 0);
	ck_assert_int_eq(rows_lmdb_create(path, MiB(64), &o.index), 0);
	o.pool = buf_pool_create(MiB(4));
	ck_assert_int_eq(cs_store_open(&o, &store, &err), 0);
	ck_assert_int_eq(cs_store_find(store, &world.ids[1], &place), 0);
	if (forget == FORGET_IN_ORDER)
		cs_store_quarantine(store, &world.ids[1], &place);
	waiting.store = store;
	loop_timer_start(world.loop, &waiting.timer, 0);
	loop_uv_run(world.loop);
	ck_assert_int_eq(cs_store_close(store), 0);
	key[0] = 'b';
	memcpy(key + 1, world.ids[1].bytes, BLOCK_ID_BYTES);
	if (forget == FORGET_ROW)
		ck_assert_int_eq(rows_del(o.index, key, sizeof key), 0);
	ck_assert_int_eq(rows_commit(o.index), 0);
	rows_destroy(o.index);
	buf_pool_destroy(o.pool);
	ck_assert_int_eq(view_close_clean(path, (struct view_position){ 0, 0 }), 0);
}

START_TEST(an_index_that_finds_everything_is_clean)
{
	make_index(FORGET_NOTHING);
	expect_clean();
}
END_TEST

START_TEST(an_index_that_forgot_a_block)
{
	make_index(FORGET_ROW);
	expect_fault(FSCK_VIEW, "cs2/index");
	expect_mended();
}
END_TEST

START_TEST(an_index_that_agrees_with_itself_but_not_with_the_files)
{
	make_index(FORGET_IN_ORDER);
	expect_fault(FSCK_VIEW, "does not lead to block");
	expect_mended();
}
END_TEST

/* --- rows ------------------------------------------------------------------------------------- */

START_TEST(a_wrong_link_count)
{
	struct ms_inode note = world_inode(INO_NOTE, S_IFREG | 0644, 2, 4);

	note.attr.root = (struct root){ .kind = ROOT_INLINE, .length = 4 };
	ms_inode_put(world.txn, &note);
	world_commit(&world);
	expect_fault(FSCK_LINKS, "/note");
	expect_mended();
}
END_TEST

START_TEST(a_dangling_name)
{
	world_name(&world, INO_MODELS, "gone", 99, S_IFREG);
	world_commit(&world);
	expect_fault(FSCK_NAME, "/models/gone");
	expect_mended();
}
END_TEST

START_TEST(an_inode_without_a_name)
{
	struct ms_inode lost = world_inode(50, S_IFREG | 0644, 1, 0);

	ms_inode_put(world.txn, &lost);
	world_counters(&world, 4);
	world_commit(&world);
	expect_fault(FSCK_LINKS, "inode 50");
	expect_mended();
}
END_TEST

START_TEST(directories_in_a_ring)
{
	struct ms_inode x = world_inode(60, S_IFDIR | 0755, 3, MS_DIRECTORY_SIZE);
	struct ms_inode y = world_inode(61, S_IFDIR | 0755, 3, MS_DIRECTORY_SIZE);

	x.parent = 61;
	y.parent = 60;
	ms_inode_put(world.txn, &x);
	ms_inode_put(world.txn, &y);
	world_name(&world, 60, "y", 61, S_IFDIR);
	world_name(&world, 61, "x", 60, S_IFDIR);
	world_commit(&world);
	expect_fault(FSCK_NAME, "cannot be reached");
	expect_mended();
}
END_TEST

START_TEST(inline_content_of_a_wrong_length)
{
	world_put(&world, ms_key_number(MS_KEY_BYTES, INO_NOTE), "notes", 5);
	world_commit(&world);
	expect_fault(FSCK_CONTENT, "/note");
}
END_TEST

START_TEST(wrong_counters)
{
	world_counters(&world, 7);
	world_commit(&world);
	expect_fault(FSCK_COUNTERS, "files");
	expect_mended();
}
END_TEST

static void charge_to(inode_no ino, inode_no quota)
{
	struct ms_inode inode;

	ck_assert_int_eq(ms_inode_get(world.txn, ino, &inode), 0);
	inode.attr.quota = quota;
	ms_inode_put(world.txn, &inode);
}

static void quota_row(inode_no dir, inode_no parent, uint64_t bytes, uint64_t files)
{
	struct ms_quota q = { .parent = parent, .bytes_max = MiB(1), .bytes = bytes,
			      .files = files };
	uint8_t value[MS_QUOTA_BYTES];

	ms_key_quota_encode(&q, value);
	world_put(&world, ms_key_number(MS_KEY_QUOTA, dir), value, sizeof value);
}

/* /models with a quota that holds what is there: the directory and a.bin. */
static void quota_of_models(void)
{
	charge_to(INO_MODELS, INO_MODELS);
	charge_to(INO_A, INO_MODELS);
	quota_row(INO_MODELS, 0, root_data_bytes(&world.root), 2);
}

START_TEST(a_quota_that_is_right)
{
	quota_of_models();
	world_commit(&world);
	expect_clean();
}
END_TEST

START_TEST(a_quota_that_was_counted_wrong)
{
	quota_of_models();
	quota_row(INO_MODELS, 0, 1, 9);
	world_commit(&world);
	expect_fault(FSCK_COUNTERS, "/models");
	expect_mended();
}
END_TEST

START_TEST(a_quota_below_one_that_is_not_there)
{
	quota_of_models();
	quota_row(INO_MODELS, 77, root_data_bytes(&world.root), 2);
	world_commit(&world);
	expect_fault(FSCK_COUNTERS, "/models");
	expect_mended();
}
END_TEST

START_TEST(quotas_in_a_ring)
{
	quota_of_models();
	quota_row(INO_MODELS, INO_MODELS, root_data_bytes(&world.root), 2);
	world_commit(&world);
	expect_fault(FSCK_COUNTERS, "/models");
	expect_mended();
}
END_TEST

START_TEST(inodes_of_a_quota_that_is_not_there)
{
	charge_to(INO_A, 77);
	charge_to(INO_NOTE, INO_MODELS);
	world_commit(&world);
	expect_fault(FSCK_COUNTERS, "/models");
	expect_mended();
}
END_TEST

START_TEST(a_directory_that_is_not_charged)
{
	quota_of_models();
	charge_to(INO_MODELS, 0);
	quota_row(INO_MODELS, 0, root_data_bytes(&world.root), 1);
	world_commit(&world);
	expect_fault(FSCK_COUNTERS, "/models");
	expect_mended();
}
END_TEST

START_TEST(a_malformed_quota)
{
	charge_to(INO_A, INO_MODELS);
	world_put(&world, ms_key_number(MS_KEY_QUOTA, INO_MODELS), "?", 1);
	world_put(&world, ms_key_number(MS_KEY_QUOTA_WALK, INO_MODELS), "?", 1);
	world_commit(&world);
	expect_mended();
}
END_TEST

START_TEST(a_malformed_inode)
{
	world_put(&world, ms_key_number(MS_KEY_INODE, INO_NOTE), "?", 1);
	world_commit(&world);
	expect_fault(FSCK_ROW, "/note");
	expect_mended();
}
END_TEST

START_TEST(a_placement_group_on_a_server_that_is_not_there)
{
	struct pg_row pg = { .epoch = 2, .state = PG_CLEAN, .replica_count = 3,
			     .replicas = { 1, 2, 9 } };
	uint8_t row[PG_ROW_BYTES_MAX];

	world_put(&world, ms_key_pg(7), row, pg_row_encode(&pg, row));
	world_commit(&world);
	expect_fault(FSCK_PLACEMENT, "server 9");
	expect_mended();
}
END_TEST

/* --- segments --------------------------------------------------------------------------------- */

/*
 * The header of a record, its content, the padding's end: in a sealed segment and in an unsealed
 * one.
 */
START_TEST(a_turned_byte_in_a_record)
{
	unsigned server = _i % 2 ? 2 : 1, block = (unsigned)_i / 4;
	uint64_t offset = world.offsets[block] + (_i / 2 % 2 ? RECORD_HEADER_BYTES + 5 : 12);

	world_flip(&world, segment(server), offset);
	expect_fault(FSCK_COPIES, "/models/a.bin");
	expect_mended();
}
END_TEST

START_TEST(a_turned_byte_in_every_copy)
{
	for (unsigned server = 1; server <= WORLD_SERVERS; server++)
		world_flip(&world, segment(server), world.offsets[1] + RECORD_HEADER_BYTES + 9);
	expect_fault(FSCK_CONTENT, "/models/a.bin");
}
END_TEST

START_TEST(the_node_is_lost)
{
	for (unsigned server = 1; server <= WORLD_SERVERS; server++)
		world_flip(&world, segment(server), world.offsets[WORLD_BLOCKS] + 8);
	expect_fault(FSCK_CONTENT, "/models/a.bin");
}
END_TEST

START_TEST(a_turned_byte_in_a_segment_header)
{
	world_flip(&world, segment(1), 9);
	expect_fault(FSCK_SEGMENT, "header is damaged");
	expect_fault(FSCK_COPIES, "/models/a.bin");
	expect_mended();
}
END_TEST

START_TEST(a_turned_byte_in_a_footer)
{
	world_flip(&world, segment(1), world.tail + (_i ? 4 * SEGMENT_ENTRY_BYTES + 9 : 50));
	expect_fault(FSCK_SEGMENT, "footer is damaged");
	expect_mended();
}
END_TEST

START_TEST(a_missing_segment_is_restored)
{
	ck_assert_int_eq(disk_unlink(world.cs[2], "segments/seg-0000000000000001"), 0);
	expect_fault(FSCK_COPIES, "server 3");
	expect_mended();
}
END_TEST

START_TEST(servers_that_are_not_given_are_not_proved)
{
	char mds[300], cs[300];
	struct fsck_options o = { .metadata_dirs = { mds }, .metadata_dir_count = 1,
				  .disk_dirs = { cs }, .disk_count = 1,
				  .scratch_dir = world.scratch.path };
	struct fsck_result r;
	struct error err = { 0 };

	world_stop(&world);
	snprintf(mds, sizeof mds, "%s/mds", world.scratch.path);
	snprintf(cs, sizeof cs, "%s/cs1", world.scratch.path);
	ck_assert_int_eq(fsck_check(&o, &r, &err), 0);
	ck_assert(names(&r, FSCK_COPIES, "server 2"));
	ck_assert_uint_eq(r.fault_count, 2);
	fsck_result_finish(&r);
}
END_TEST

TEST_MAIN("fsck", log_init("test_fsck", LOG_LEVEL_ERROR);
	  tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, a_sound_file_system_is_clean);
	  tcase_add_test(tc, torn_tails_are_clean);
	  tcase_add_test(tc, a_directory_in_use_is_refused);
	  tcase_add_test(tc, a_turned_byte_in_a_superblock);
	  tcase_add_test(tc, a_turned_byte_in_the_middle_of_the_journal);
	  tcase_add_test(tc, a_missing_journal); tcase_add_test(tc, a_turned_byte_in_a_snapshot);
	  tcase_add_test(tc, a_bad_snapshot_is_replaced_from_an_older_one);
	  tcase_add_test(tc, what_lies_in_a_trash_needs_no_name);
	  tcase_add_test(tc, a_trash_is_counted);
	  tcase_add_test(tc, what_no_trash_names_gets_a_name);
	  tcase_add_loop_test(tc, a_clone_that_is_not_shown_needs_no_name, 0, 2);
	  tcase_add_loop_test(tc, a_view_that_a_crash_left_behind_is_compared, 0, 2);
	  tcase_add_test(tc, a_view_is_compared_with_the_truth);
	  tcase_add_test(tc, a_journal_that_ends_before_its_view);
	  tcase_add_test(tc, an_index_that_finds_everything_is_clean);
	  tcase_add_test(tc, an_index_that_forgot_a_block);
	  tcase_add_test(tc, an_index_that_agrees_with_itself_but_not_with_the_files);
	  tcase_add_test(tc, a_wrong_link_count); tcase_add_test(tc, a_dangling_name);
	  tcase_add_test(tc, an_inode_without_a_name); tcase_add_test(tc, directories_in_a_ring);
	  tcase_add_test(tc, inline_content_of_a_wrong_length); tcase_add_test(tc, wrong_counters);
	  tcase_add_test(tc, a_quota_that_is_right);
	  tcase_add_test(tc, a_quota_that_was_counted_wrong);
	  tcase_add_test(tc, a_quota_below_one_that_is_not_there);
	  tcase_add_test(tc, quotas_in_a_ring);
	  tcase_add_test(tc, inodes_of_a_quota_that_is_not_there);
	  tcase_add_test(tc, a_directory_that_is_not_charged);
	  tcase_add_test(tc, a_malformed_quota);
	  tcase_add_test(tc, a_malformed_inode);
	  tcase_add_test(tc, a_placement_group_on_a_server_that_is_not_there);
	  tcase_add_loop_test(tc, a_turned_byte_in_a_record, 0, 16);
	  tcase_add_test(tc, a_turned_byte_in_every_copy); tcase_add_test(tc, the_node_is_lost);
	  tcase_add_test(tc, a_turned_byte_in_a_segment_header);
	  tcase_add_loop_test(tc, a_turned_byte_in_a_footer, 0, 2);
	  tcase_add_test(tc, a_missing_segment_is_restored);
	  tcase_add_test(tc, servers_that_are_not_given_are_not_proved))
