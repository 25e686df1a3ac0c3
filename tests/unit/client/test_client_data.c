/* SPDX-License-Identifier: Apache-2.0 */
/* The client's data path against a real metadata server and three chunk servers. */
#include <linux/falloc.h>

#include "chunk-server/serve_internal.h"
#include "client/core/file.h"
#include "metadata-server/serve_internal.h"
#include "metadata-server/step_internal.h"
#include "tests/client_cluster.h"

static struct cluster w;

static void setup(void)
{
	cluster_start(&w, 3000);
}

static void teardown(void)
{
	cluster_finish(&w);
}

static uint8_t expected[MiB(4)], found[MiB(4)];

static void check_content(struct client *c, const char *name, const uint8_t *bytes, uint32_t len)
{
	struct cl_handle *h = file_open(&w, c, name, O_RDONLY);
	ck_assert_uint_eq(file_size(&w, c, file_lookup(&w, c, name)), len);
	for (uint32_t at = 0; at < len;) {
		int got = file_read(&w, c, h, at, found + at, MIN_OF(len - at, 100000u));
		ck_assert_int_gt(got, 0);
		at += (uint32_t)got;
	}
	ck_assert_int_eq(file_read(&w, c, h, len, found, 10), 0);
	ck_assert_mem_eq(found, bytes, len);
	ck_assert_int_eq(file_close(&w, c, h), 0);
}

static void write_file(struct client *c, const char *name, const uint8_t *bytes, uint32_t len)
{
	struct cl_handle *h = file_create(&w, c, name);
	for (uint32_t at = 0; at < len; at += 131072)
		ck_assert_int_eq(file_write(&w, c, h, at, bytes + at, MIN_OF(len - at, 131072u)),
				 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
}

START_TEST(sizes_around_the_bounds_come_back)
{
	static const uint32_t sizes[] = {0,	1,	4096,	 65535,	     65536,
					 65537, 131072, 1000000, MiB(3) + 17};
	struct client *a = cluster_client(&w), *b = cluster_client(&w);
	char name[16];
	for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
		snprintf(name, sizeof name, "f%zu", i);
		file_pattern(expected, sizes[i], i);
		write_file(a, name, expected, sizes[i]);
		check_content(a, name, expected, sizes[i]);
		check_content(b, name, expected, sizes[i]);
	}
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
}
END_TEST

/* Half of it shrinks, so that servers answer with parts and with whole records. */
static void write_mixed(struct client *c, const char *name)
{
	file_pattern(expected, sizeof expected, 7);
	for (uint32_t i = 0; i < sizeof expected / 2; i++)
		expected[i] = (uint8_t)(i / 1000);
	write_file(c, name, expected, sizeof expected);
}

START_TEST(random_readers_fetch_only_what_they_need)
{
	struct client *a = cluster_client(&w), *b = cluster_client(&w);
	write_mixed(a, "file");
	struct cl_handle *h = file_open(&w, b, "file", O_RDONLY);
	uint64_t x = 1;
	for (unsigned i = 0; i < 300; i++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		uint32_t offset = (uint32_t)(x >> 33) % (sizeof expected - 5000);
		ck_assert_int_eq(file_read(&w, b, h, offset, found, 5000), 5000);
		ck_assert_mem_eq(found, expected + offset, 5000);
	}
	ck_assert(cl_ahead_is_random(&h->file->ahead));
	ck_assert_uint_lt(b->cache.bytes, 24 * BUF_LARGE_BYTES);	/* of 64 blocks */
	check_content(b, "file", expected, sizeof expected);		/* streams go on as ever */
	ck_assert(!cl_ahead_is_random(&h->file->ahead));
	ck_assert_int_eq(file_close(&w, b, h), 0);
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
}
END_TEST

static void fetched(struct cl_fetch *fetch)
{
	(*(unsigned *)fetch->arg)++;
}

/* A block has one length: who waits for it with another would read beyond its end. */
START_TEST(a_manifest_that_lies_about_a_length_gets_no_block)
{
	static const uint32_t lens[] = { 4096, BLOCK_BYTES_MAX, 0 };
	static const int ends[] = { 0, -E_CORRUPT, 0 };
	struct client *a = cluster_client(&w), *b = cluster_client(&w);
	struct cl_fetch fetches[3] = { 0 };
	struct block_id id;
	unsigned count = 0;
	file_pattern(expected, 65536 + 4096, 9);
	memset(expected, 1, 65536);	/* nothing in it begins a block */
	write_file(a, "file", expected, 65536 + 4096);
	block_id_of(b->hash, expected + 65536, 4096, &id);
	for (unsigned i = 0; i < 3; i++) {
		fetches[i].done = fetched;
		fetches[i].arg = &count;
		ck_assert_int_eq(cl_cache_fetch(b, &id, lens[i], &fetches[i]), 0);
	}
	cluster_run_for(&w, 300);
	ck_assert_uint_eq(count, 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(fetches[i].rc, ends[i]);
		ck_assert_int_eq(fetches[i].buf != NULL, ends[i] == 0);
		buf_put(fetches[i].buf);
	}
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
}
END_TEST

START_TEST(every_stream_of_an_inode_is_read_ahead)
{
	struct client *a = cluster_client(&w), *b = cluster_client(&w);
	write_mixed(a, "file");
	struct cl_handle *h[2] = { file_open(&w, b, "file", O_RDONLY),
				   file_open(&w, b, "file", O_RDONLY) };
	for (uint32_t i = 0; i < 4; i++)
		for (uint32_t s = 0; s < 2; s++) {
			uint32_t offset = s * (uint32_t)MiB(2) + i * 65536;
			ck_assert_int_eq(file_read(&w, b, h[s], offset, found, 65536), 65536);
			ck_assert_mem_eq(found, expected + offset, 65536);
		}
	cluster_run_for(&w, 300);
	ck_assert_uint_ge(b->cache.bytes, 2 * 12 * (uint64_t)BLOCK_BYTES_MAX);
	ck_assert_int_eq(file_close(&w, b, h[0]), 0);
	ck_assert_int_eq(file_close(&w, b, h[1]), 0);
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
}
END_TEST

START_TEST(a_long_stream_keeps_nothing_behind_it)
{
	struct client *a = cluster_client(&w), *b = cluster_client(&w);
	write_mixed(a, "file");
	b->cache.bytes_max = MiB(1);
	check_content(b, "file", expected, sizeof expected);
	ck_assert_uint_lt(b->cache.bytes, MiB(1) / 2);
	struct cl_handle *h = file_open(&w, b, "file", O_RDONLY);
	ck_assert_int_eq(file_read(&w, b, h, MiB(3), found, 5000), 5000);	/* comes again */
	ck_assert_mem_eq(found, expected + MiB(3), 5000);
	ck_assert_int_eq(file_close(&w, b, h), 0);
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
}
END_TEST

START_TEST(content_survives_a_new_session)
{
	struct client *c = cluster_client(&w);
	file_pattern(expected, MiB(2), 5);
	write_file(c, "kept", expected, MiB(2));
	cluster_client_stop(&w, c);
	c = cluster_client(&w);
	check_content(c, "kept", expected, MiB(2));
	cluster_client_stop(&w, c);
}
END_TEST

START_TEST(stopping_publishes_what_was_gathered)
{
	struct client *c = cluster_client(&w);
	file_pattern(expected, 300000, 6);
	struct cl_handle *h = file_create(&w, c, "late");
	ck_assert_int_eq(file_write(&w, c, h, 0, expected, 300000), 0);
	/* and no flush: a crashed writer */
	struct cl_op release = { .kind = CL_RELEASE, .handle = h };
	ck_assert_int_eq(cluster_op(&w, c, &release), 0);
	cluster_client_stop(&w, c);
	c = cluster_client(&w);
	check_content(c, "late", expected, 300000);
	cluster_client_stop(&w, c);
}
END_TEST

/* Random edits of one file against a byte array; the second client checks what was published. */
static void random_edits(uint64_t seed, uint32_t size_max, unsigned rounds)
{
	struct client *a = cluster_client(&w), *b = cluster_client(&w);
	uint64_t x = seed;
	uint32_t size = 0;
	static uint8_t bytes[MiB(1)];
	struct cl_handle *h = file_create(&w, a, "edited");
	inode_no ino = file_lookup(&w, a, "edited");
	memset(expected, 0, sizeof expected);
	for (unsigned i = 0; i < rounds; i++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		uint32_t offset = (uint32_t)(x >> 33) % size_max;
		uint32_t len = 1 + (uint32_t)(x >> 40) % (i % 3 ? 5000 : 200000);
		len = MIN_OF(len, size_max - offset);
		switch ((x >> 60) % 8) {
		case 0:
			ck_assert_int_eq(file_truncate(&w, a, ino, offset), 0);
			if (offset < size)
				memset(expected + offset, 0, size - offset);
			size = offset;
			break;
		case 1: {
			struct cl_op op = { .kind = CL_FALLOCATE, .handle = h, .offset = offset,
					    .length = len,
					    .flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };
			ck_assert_int_eq(cluster_op(&w, a, &op), 0);
			if (offset < size)
				memset(expected + offset, 0, MIN_OF(len, size - offset));
			break;
		}
		case 2: {
			struct cl_op op = { .kind = CL_FSYNC, .handle = h };
			ck_assert_int_eq(cluster_op(&w, a, &op), 0);
			break;
		}
		case 3: {
			int got = file_read(&w, a, h, offset, found, len);
			uint32_t there = offset < size ? MIN_OF(len, size - offset) : 0;
			ck_assert_int_eq(got, there);
			ck_assert_mem_eq(found, expected + offset, there);
			break;
		}
		default:
			file_pattern(bytes, len, x);
			ck_assert_int_eq(file_write(&w, a, h, offset, bytes, len), 0);
			memcpy(expected + offset, bytes, len);
			size = MAX_OF(size, offset + len);
		}
		ck_assert_uint_eq(file_size(&w, a, ino), size);
	}
	check_content(a, "edited", expected, size);
	ck_assert_int_eq(file_close(&w, a, h), 0);
	check_content(b, "edited", expected, size);
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
}

START_TEST(random_edits_agree_with_a_byte_array)
{
	random_edits(1 + (uint64_t)_i, 700000, 150);
}
END_TEST

START_TEST(random_edits_around_the_inline_bound)
{
	random_edits(100 + (uint64_t)_i, 90000, 150);
}
END_TEST

START_TEST(holes_are_found)
{
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_create(&w, c, "sparse");
	ck_assert_int_eq(file_write(&w, c, h, MiB(1), "x", 1), 0);
	struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
	ck_assert_int_eq(cluster_op(&w, c, &sync), 0);
	struct cl_op data = { .kind = CL_LSEEK, .handle = h, .whence = SEEK_DATA };
	ck_assert_int_eq(cluster_op(&w, c, &data), 0);
	ck_assert_uint_eq(data.out_offset_found, MiB(1));
	struct cl_op hole = { .kind = CL_LSEEK, .handle = h, .offset = MiB(1),
			      .whence = SEEK_HOLE };
	ck_assert_int_eq(cluster_op(&w, c, &hole), 0);
	ck_assert_uint_eq(hole.out_offset_found, MiB(1) + 1);
	struct cl_op past = { .kind = CL_LSEEK, .handle = h, .offset = MiB(2),
			      .whence = SEEK_DATA };
	ck_assert_int_eq(cluster_op(&w, c, &past), -E_NXIO);
	ck_assert_int_eq(file_truncate(&w, c, file_lookup(&w, c, "sparse"), GiB(100)), 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	ck_assert_uint_eq(file_size(&w, c, file_lookup(&w, c, "sparse")), GiB(100));
	cluster_client_stop(&w, c);
}
END_TEST

START_TEST(a_copy_of_a_whole_file_needs_no_chunk_server)
{
	const uint32_t size = MiB(2) + 77;
	struct client *c = cluster_client(&w);
	file_pattern(expected, size, 12);
	write_file(c, "source", expected, size);
	cluster_client_stop(&w, c);

	c = cluster_client(&w);		/* without anything in memory */
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_stop(&w, i);
	struct cl_handle *from = file_open(&w, c, "source", O_RDONLY),
			 *to = file_create(&w, c, "whole");
	struct cl_op op = { .kind = CL_COPY_RANGE, .handle = from, .out_handle = to,
			    .length = UINT32_MAX };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	ck_assert_uint_eq(op.out_len, size);
	ck_assert_int_eq(file_close(&w, c, to), 0);
	ck_assert_int_eq(file_close(&w, c, from), 0);
	for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
		cluster_cs_start(&w, i, 2000 + i);
	cluster_run_for(&w, 300);
	check_content(c, "whole", expected, size);
	cluster_client_stop(&w, c);
}
END_TEST

START_TEST(a_copy_takes_blocks_by_reference)
{
	struct client *c = cluster_client(&w);
	struct cl_stats before, after;
	file_pattern(expected, MiB(2), 9);
	write_file(c, "source", expected, MiB(2));
	struct cl_handle *from = file_open(&w, c, "source", O_RDONLY),
			 *to = file_create(&w, c, "copy");
	client_stats(c, &before);
	struct cl_op op = { .kind = CL_COPY_RANGE, .handle = from, .out_handle = to,
			    .length = MiB(8) };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	ck_assert_uint_eq(op.out_len, MiB(2));
	client_stats(c, &after);
	ck_assert_uint_eq(after.blocks_put, before.blocks_put);
	/* And what lies on no boundary. */
	op = (struct cl_op){ .kind = CL_COPY_RANGE, .handle = from, .out_handle = to,
			     .offset = 1000, .out_offset = 70001, .length = 200000 };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	ck_assert_uint_eq(op.out_len, 200000);
	ck_assert_int_eq(file_close(&w, c, from), 0);
	ck_assert_int_eq(file_close(&w, c, to), 0);
	memmove(expected + 70001, expected + 1000, 200000);
	check_content(c, "copy", expected, MiB(2));
	cluster_client_stop(&w, c);
}
END_TEST

START_TEST(more_is_written_than_memory_holds)
{
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_create(&w, c, "large");
	struct cl_stats stats;
	for (uint32_t i = 0; i < 64; i++) {
		file_pattern(expected, MiB(1), i);
		ck_assert_int_eq(file_write(&w, c, h, i * MiB(1), expected, MiB(1)), 0);
		client_stats(c, &stats);
		ck_assert_uint_le(stats.dirty_bytes, MiB(18));
	}
	ck_assert_int_eq(file_close(&w, c, h), 0);
	h = file_open(&w, c, "large", O_RDONLY);
	for (uint32_t i = 0; i < 64; i++) {
		file_pattern(expected, MiB(1), i);
		ck_assert_int_eq(file_read(&w, c, h, i * MiB(1), found, MiB(1)), MiB(1));
		ck_assert_mem_eq(found, expected, MiB(1));
	}
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_client_stop(&w, c);
}
END_TEST

/* --- collection (I9) -------------------------------------------------------------------------- */

/* Begin an fsync, and hold its round where the manifest is sealed and nodes are not stored yet. */
static struct cl_file *hold_sealed(struct client *c, struct cl_op *sync)
{
	struct cl_file *file = sync->handle->file;
	sync->done = cluster_op_done;
	sync->user = &w;
	client_submit(c, sync);
	while (file->flush.state < CL_FLUSH_NODES)
		cluster_run_for(&w, 0);
	ck_assert_int_eq(file->flush.state, CL_FLUSH_NODES);
	file->flush.awaited++;
	return file;
}

static void let_go(struct cl_file *file, struct cl_op *sync)
{
	cl_publish_stored(file, 0);
	while (!sync->is_finished)
		loop_uv_run(w.loop);
	ck_assert_int_eq(sync->rc, 0);
}

/* It is synced with a round that does not name it: its age is told until one does. */
START_TEST(what_is_put_behind_a_seal_is_told_until_it_is_published)
{
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_create(&w, c, "late");
	struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
	const uint32_t late = MiB(1) - 4 * BLOCK_BYTES_MAX;
	file_pattern(expected, MiB(1), 8);
	ck_assert_int_eq(file_write(&w, c, h, 0, expected, 4 * BLOCK_BYTES_MAX), 0);
	struct cl_file *file = hold_sealed(c, &sync);
	uint32_t before = file->id_count;
	ck_assert_int_eq(file_write(&w, c, h, late, expected + late, MiB(1) - late), 0);
	cl_chunk_put_all(file);
	while (file->chunk_count > 0)
		cluster_run_for(&w, 1);
	ck_assert_uint_ge(file->id_count, before + 4);
	let_go(file, &sync);
	ck_assert(cl_file_is_dirty(file));
	ck_assert_uint_eq(cl_publish_oldest(c), 1);
	ck_assert_uint_ge(file->id_count, 4);
	sync = (struct cl_op){ .kind = CL_FSYNC, .handle = h };
	ck_assert_int_eq(cluster_op(&w, c, &sync), 0);
	ck_assert_uint_eq(cl_publish_oldest(c), 0);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	memset(expected + 4 * BLOCK_BYTES_MAX, 0, MiB(1) - 8 * BLOCK_BYTES_MAX);
	check_content(c, "late", expected, MiB(1));
	cluster_client_stop(&w, c);
}
END_TEST

START_TEST(what_is_copied_behind_a_seal_names_its_source_again)
{
	struct client *c = cluster_client(&w);
	file_pattern(expected, 4 * BLOCK_BYTES_MAX, 9);
	write_file(c, "source", expected, 4 * BLOCK_BYTES_MAX);
	struct cl_handle *from = file_open(&w, c, "source", O_RDONLY);
	struct cl_handle *to = file_create(&w, c, "target");
	struct cl_op sync = { .kind = CL_FSYNC, .handle = to };
	for (uint64_t half = 0; half < 2; half++) {
		struct cl_op copy = { .kind = CL_COPY_RANGE, .handle = from, .out_handle = to,
				      .offset = 2 * half * BLOCK_BYTES_MAX,
				      .out_offset = 2 * half * BLOCK_BYTES_MAX,
				      .length = 2 * BLOCK_BYTES_MAX };
		struct cl_file *file = half ? hold_sealed(c, &sync) : NULL;
		ck_assert_int_eq(cluster_op(&w, c, &copy), 0);
		if (file)
			let_go(file, &sync);
	}
	ck_assert(cl_file_is_dirty(to->file));
	ck_assert_uint_eq(to->file->source_count, 1);
	ck_assert_int_eq(file_close(&w, c, to), 0);
	ck_assert_int_eq(file_close(&w, c, from), 0);
	check_content(c, "target", expected, 4 * BLOCK_BYTES_MAX);
	cluster_client_stop(&w, c);
}
END_TEST

/*
 * As after a rescue: the epoch is far ahead, and the chunk servers hear of it with their next
 * heartbeats, long after the first refusals.
 */
static void collection_jumps(void)
{
	w.mds->state->collection += 1000;
}

START_TEST(a_publish_waits_for_servers_that_have_not_heard_of_the_collection_epoch)
{
	struct client *c = cluster_client(&w);
	char name[16];
	for (uint32_t i = 0; i < 8; i++) {
		snprintf(name, sizeof name, "f%u", i);
		file_pattern(expected, MiB(1), i);
		struct cl_handle *h = file_create(&w, c, name);
		ck_assert_int_eq(file_write(&w, c, h, 0, expected, MiB(1)), 0);
		collection_jumps();
		ck_assert_int_eq(file_close(&w, c, h), 0);
		check_content(c, name, expected, MiB(1));
	}
	cluster_client_stop(&w, c);
}
END_TEST

/* Of the block that fewest servers hold so that no collection of this epoch takes it: how many? */
static uint32_t safe_copies(const uint8_t *bytes, uint32_t len)
{
	uint32_t fewest = CLUSTER_SERVERS;
	for (uint32_t at = 0; at < len; at += BLOCK_BYTES_MAX) {
		uint32_t count = 0;
		struct block_id id;
		struct cs_place place;
		block_id_of(HASH_SHA256, bytes + at, BLOCK_BYTES_MAX, &id);
		for (uint32_t i = 0; i < CLUSTER_SERVERS; i++)
			count += cs_store_find(w.cs[i].server->stores[0], &id, &place) == 0 &&
				 place.touched + 1 >= w.mds->state->collection;
		fewest = MIN_OF(fewest, count);
	}
	return fewest;
}

START_TEST(what_was_copied_is_touched_in_the_epoch_of_its_publish)
{
	const uint32_t size = MiB(1) / 2;	/* content without a cut off the grid */
	struct client *c = cluster_client(&w);
	char source[16], target[16];
	file_pattern(expected, size, 20);
	for (uint32_t i = 0; i < 4; i++) {
		snprintf(source, sizeof source, "source%u", i);
		snprintf(target, sizeof target, "target%u", i);
		write_file(c, source, expected, size);
		ck_assert_uint_ge(safe_copies(expected, size), 2);
		struct cl_handle *from = file_open(&w, c, source, O_RDWR);
		struct cl_handle *to = file_create(&w, c, target);
		struct cl_op copy = { .kind = CL_COPY_RANGE, .handle = from, .out_handle = to,
				      .length = size };
		ck_assert_int_eq(cluster_op(&w, c, &copy), 0);
		ck_assert_int_eq(file_write(&w, c, from, 0, "other", 5), 0);
		ck_assert_int_eq(file_close(&w, c, from), 0);
		collection_jumps();
		ck_assert_int_eq(file_close(&w, c, to), 0);
		ck_assert_uint_ge(safe_copies(expected, size), 2);
		check_content(c, target, expected, size);
	}
	cluster_client_stop(&w, c);
}
END_TEST

START_TEST(what_needs_nobody_is_done_when_run_returns)
{
	struct client *c = cluster_client(&w);
	struct cl_op ask = { .kind = CL_GETATTR, .ino = INODE_ROOT };
	ck_assert_int_eq(cluster_op(&w, c, &ask), 0);
	struct cl_op again = { .kind = CL_GETATTR, .ino = INODE_ROOT, .done = cluster_op_done,
			       .user = &w };
	client_run(c, &again);
	ck_assert(again.is_finished);
	ck_assert_uint_eq(again.attr.st.st_ino, INODE_ROOT);
	struct cl_op late = { .kind = CL_STATFS, .done = cluster_op_done, .user = &w };
	client_interrupt(c, &late);
	client_run(c, &late);
	ck_assert(late.is_finished);
	ck_assert_int_eq(late.rc, -E_INTR);
	cluster_client_stop(&w, c);
}
END_TEST

TEST_MAIN("client data", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_test(tc, what_needs_nobody_is_done_when_run_returns);
	  tcase_add_test(tc, sizes_around_the_bounds_come_back);
	  tcase_add_test(tc, random_readers_fetch_only_what_they_need);
	  tcase_add_test(tc, a_manifest_that_lies_about_a_length_gets_no_block);
	  tcase_add_test(tc, every_stream_of_an_inode_is_read_ahead);
	  tcase_add_test(tc, a_long_stream_keeps_nothing_behind_it);
	  tcase_add_test(tc, content_survives_a_new_session);
	  tcase_add_test(tc, stopping_publishes_what_was_gathered);
	  tcase_add_loop_test(tc, random_edits_agree_with_a_byte_array, 0, check_seeds(20));
	  tcase_add_loop_test(tc, random_edits_around_the_inline_bound, 0, check_seeds(6));
	  tcase_add_test(tc, holes_are_found);
	  tcase_add_test(tc, a_copy_of_a_whole_file_needs_no_chunk_server);
	  tcase_add_test(tc, a_copy_takes_blocks_by_reference);
	  tcase_add_test(tc, more_is_written_than_memory_holds);
	  tcase_add_test(tc, what_is_put_behind_a_seal_is_told_until_it_is_published);
	  tcase_add_test(tc, what_is_copied_behind_a_seal_names_its_source_again);
	  tcase_add_test(tc,
			 a_publish_waits_for_servers_that_have_not_heard_of_the_collection_epoch);
	  tcase_add_test(tc, what_was_copied_is_touched_in_the_epoch_of_its_publish))
