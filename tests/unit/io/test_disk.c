/* SPDX-License-Identifier: Apache-2.0 */
/* The posix disk: each call does what disk.h says. */
#include "fs/io/disk.h"

#include <string.h>
#include <sys/stat.h>

#include "tests/check_main.h"
#include "tests/scratch.h"

static struct scratch scratch;
static struct disk *disk;

static void begin(void)
{
	scratch_init(&scratch);
	ck_assert_int_eq(disk_posix_create(scratch.path, &disk), 0);
}

static void end(void)
{
	disk_destroy(disk);
	scratch_finish(&scratch);
}

static struct disk_file *open_new(const char *name)
{
	struct disk_file *f;

	ck_assert_int_eq(disk_open(disk, name, DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &f), 0);
	return f;
}

START_TEST(a_disk_needs_a_directory)
{
	struct disk *other;

	begin();
	ck_assert_int_eq(disk_posix_create(scratch_path(&scratch, "absent"), &other), -E_NOENT);
	disk_close(open_new("file"));
	ck_assert_int_eq(disk_posix_create(scratch_path(&scratch, "file"), &other), -E_NOTDIR);
	end();
}
END_TEST

START_TEST(reads_are_short_only_at_the_end)
{
	struct iovec iov[3] = { { (char *)"first ", 6 }, { NULL, 0 }, { (char *)"second", 6 } };
	struct disk_file *f;
	char back[32];

	begin();
	f = open_new("file");
	ck_assert_int_eq(disk_writev(f, iov, 3, 10), 0);
	ck_assert_int_eq(disk_write(f, "0123456789", 10, 0), 0);
	ck_assert_int_eq(disk_read(f, back, sizeof back, 0), 22);
	ck_assert_mem_eq(back, "0123456789first second", 22);
	ck_assert_int_eq(disk_read(f, back, 6, 16), 6);
	ck_assert_mem_eq(back, "second", 6);
	ck_assert_int_eq(disk_read(f, back, 1, 22), 0);
	disk_close(f);
	end();
}
END_TEST

START_TEST(a_cached_read_answers_or_says_not_now)
{
	struct disk_file *f;
	char back[8];
	int rc;

	begin();
	f = open_new("file");
	ck_assert_int_eq(disk_write(f, "abcdef", 6, 0), 0);
	struct iovec iov[] = { { back, 4 }, { back + 4, sizeof back - 4 } };
	rc = disk_readv_cached(f, iov, 2, 0);
	ck_assert(rc == 6 || rc == -E_AGAIN);
	if (rc == 6)
		ck_assert_mem_eq(back, "abcdef", 6);
	memset(back, 0, sizeof back);
	ck_assert_int_eq(disk_readv(f, iov, 2, 0), 6);
	ck_assert_mem_eq(back, "abcdef", 6);
	ck_assert_int_eq(disk_readv(f, iov, 2, 5), 1);
	ck_assert_int_eq(disk_readv(f, iov, 2, 6), 0);
	disk_close(f);
	end();
}
END_TEST

START_TEST(sizes_change_by_truncate_and_allocate)
{
	struct disk_file *f;
	uint64_t bytes;

	begin();
	f = open_new("file");
	ck_assert_int_eq(disk_allocate(f, 1 << 20), 0);
	ck_assert_int_eq(disk_size(f, &bytes), 0);
	ck_assert_uint_eq(bytes, 1 << 20);
	ck_assert_int_eq(disk_truncate(f, 3), 0);
	ck_assert_int_eq(disk_size(f, &bytes), 0);
	ck_assert_uint_eq(bytes, 3);
	ck_assert_int_eq(disk_sync(f), 0);
	disk_close(f);
	end();
}
END_TEST

static void count_name(void *arg, const char *name)
{
	int *count = arg;

	ck_assert(strcmp(name, "one") == 0 || strcmp(name, "two") == 0);
	(*count)++;
}

START_TEST(names_are_made_listed_renamed_and_removed)
{
	struct disk_file *f;
	int count = 0;

	begin();
	ck_assert_int_eq(disk_mkdir(disk, "dir"), 0);
	ck_assert_int_eq(disk_mkdir(disk, "dir"), 0);
	disk_close(open_new("dir/one"));
	disk_close(open_new("dir/three"));
	ck_assert_int_eq(disk_rename(disk, "dir/three", "dir/two"), 0);
	ck_assert_int_eq(disk_sync_dir(disk, "dir"), 0);
	ck_assert_int_eq(disk_list(disk, "dir", count_name, &count), 0);
	ck_assert_int_eq(count, 2);
	ck_assert_int_eq(disk_open(disk, "dir/one", DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &f),
			 -E_EXIST);
	ck_assert_int_eq(disk_unlink(disk, "dir/one"), 0);
	ck_assert_int_eq(disk_unlink(disk, "dir/one"), -E_NOENT);
	ck_assert_int_eq(disk_open(disk, "dir/one", DISK_READ, &f), -E_NOENT);
	ck_assert_int_eq(disk_list(disk, "absent", count_name, &count), -E_NOENT);
	ck_assert_int_eq(disk_sync_dir(disk, "absent"), -E_NOENT);
	end();
}
END_TEST

START_TEST(a_disk_has_one_owner)
{
	struct disk *other;

	begin();
	ck_assert_int_eq(disk_posix_create(scratch.path, &other), 0);
	ck_assert_int_eq(disk_lock(disk), 0);
	ck_assert_int_eq(disk_lock(other), -E_BUSY);
	disk_destroy(disk);
	disk = other;
	ck_assert_int_eq(disk_lock(disk), 0);
	end();
}
END_TEST

START_TEST(space_is_what_the_file_system_has)
{
	struct disk_space space;

	begin();
	ck_assert_int_eq(disk_space(disk, &space), 0);
	ck_assert_uint_gt(space.bytes_total, 0);
	ck_assert_uint_le(space.bytes_free, space.bytes_total);
	end();
}
END_TEST

START_TEST(a_small_file_is_replaced_whole)
{
	char back[16];
	struct stat st;

	begin();
	ck_assert_int_eq(disk_mkdir(disk, "dir"), 0);
	ck_assert_int_eq(disk_read_file(disk, "dir/note", back, sizeof back), -E_NOENT);
	ck_assert_int_eq(disk_replace_file(disk, "dir/note", "a longer one", 12), 0);
	ck_assert_int_eq(disk_replace_file(disk, "dir/note", "short", 5), 0);
	ck_assert_int_eq(disk_read_file(disk, "dir/note", back, sizeof back), 5);
	ck_assert_mem_eq(back, "short", 5);
	ck_assert_int_eq(disk_read_file(disk, "dir/note", back, 2), 2);
	ck_assert_int_eq(disk_replace_file(disk, "dir/note", NULL, 0), 0);
	ck_assert_int_eq(disk_read_file(disk, "dir/note", back, sizeof back), 0);
	ck_assert_int_ne(stat(scratch_path(&scratch, "dir/note.new"), &st), 0);
	end();
}
END_TEST

/* Write, then sync, then read, each submitted when the one before is done. */
struct chain {
	struct disk_op op;
	struct loop *loop;
	struct iovec iov;
	char back[4];
};

static void chain_read(struct disk_op *op)
{
	struct chain *c = container_of(op, struct chain, op);

	ck_assert_int_eq(op->rc, 4);
	ck_assert_mem_eq(c->back, "data", 4);
	loop_uv_stop(c->loop);
}

static void chain_synced(struct disk_op *op)
{
	struct chain *c = container_of(op, struct chain, op);

	ck_assert_int_eq(op->rc, 0);
	op->kind = DISK_OP_READ;
	op->data = c->back;
	op->len = sizeof c->back;
	op->done = chain_read;
	disk_submit(c->loop, op);
}

static void chain_written(struct disk_op *op)
{
	ck_assert_int_eq(op->rc, 0);
	op->kind = DISK_OP_SYNC;
	op->done = chain_synced;
	disk_submit(container_of(op, struct chain, op)->loop, op);
}

START_TEST(submitted_calls_answer_on_the_loop)
{
	struct chain c = { .iov = { (char *)"data", 4 } };

	begin();
	ck_assert_int_eq(loop_uv_create(1, &c.loop), 0);
	c.op = (struct disk_op){ .kind = DISK_OP_WRITEV, .file = open_new("file"), .iov = &c.iov,
				 .iov_count = 1, .offset = 7, .done = chain_written };
	disk_submit(c.loop, &c.op);
	loop_uv_run(c.loop);
	ck_assert_mem_eq(c.back, "data", 4);
	disk_close(c.op.file);
	loop_uv_destroy(c.loop);
	end();
}
END_TEST

TEST_MAIN("disk",
	tcase_add_test(tc, a_disk_needs_a_directory);
	tcase_add_test(tc, reads_are_short_only_at_the_end);
	tcase_add_test(tc, a_cached_read_answers_or_says_not_now);
	tcase_add_test(tc, sizes_change_by_truncate_and_allocate);
	tcase_add_test(tc, names_are_made_listed_renamed_and_removed);
	tcase_add_test(tc, a_disk_has_one_owner);
	tcase_add_test(tc, space_is_what_the_file_system_has);
	tcase_add_test(tc, a_small_file_is_replaced_whole);
	tcase_add_test(tc, submitted_calls_answer_on_the_loop))
