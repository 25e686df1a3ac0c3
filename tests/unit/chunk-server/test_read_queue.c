/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads that wait for a disk: no more are in flight than its medium takes, what waits goes in the
 * order of its places and is merged, what memory holds does not wait, and nothing is lost of what
 * compaction moves meanwhile.
 */
#include "chunk-server/store_internal.h"
#include "tests/check_main.h"
#include "tests/store_fixture.h"

#define COUNT 300u
#define LEN   6000u

static struct store_fixture f;
static struct disk_ops ops;
static const struct disk_ops *real;
static struct store_get gets[COUNT];
static uint32_t read_count, back_count; /* reads; of them those before the one before */
static uint64_t last_offset;
static bool is_cached;
static uint32_t segment_opens, ahead_opens; /* of segments; of them those with read-ahead */

static int noted_open(struct disk *disk, const char *name, int flags, struct disk_file **out)
{
	bool is_segment = strncmp(name, "segments/", 9) == 0;

	segment_opens += is_segment;
	ahead_opens += is_segment && !(flags & (DISK_RANDOM | DISK_DIRECT));
	return real->open(disk, name, flags, out);
}

static void note_read(uint64_t offset)
{
	read_count++;
	back_count += offset < last_offset;
	last_offset = offset;
}

static int slow_read(struct disk_file *file, void *out, uint32_t len, uint64_t offset)
{
	note_read(offset);
	return real->read(file, out, len, offset);
}

static int slow_readv(struct disk_file *file, const struct iovec *iov, int count, uint64_t offset)
{
	note_read(offset);
	return real->readv(file, iov, count, offset);
}

static int readv_cached(struct disk_file *file, const struct iovec *iov, int count, uint64_t offset)
{
	return is_cached ? real->readv_cached(file, iov, count, offset) : -E_AGAIN;
}

static int no_pages(struct disk_file *file, uint32_t len, uint64_t offset)
{
	(void)file;
	(void)len;
	(void)offset;
	return 0;
}

static void begin(void)
{
	store_begin(&f);
	real = f.disk->ops;
	ops = *real;
	ops.open = noted_open;
	ops.read = slow_read;
	ops.readv = slow_readv;
	ops.readv_cached = readv_cached;
	ops.cached = no_pages;
	f.disk->ops = &ops;
	is_cached = false;
	segment_opens = ahead_opens = 0;
}

static void end(void)
{
	f.disk->ops = real;
	store_end(&f);
}

static void put_all(enum media_kind media)
{
	f.media = media;
	store_reopen(&f, true);
	for (uint32_t i = 0; i < COUNT; i++)
		ck_assert_int_eq(store_put(&f, i, LEN), 0);
	ck_assert_int_eq(store_sync(&f, cs_store_generation(f.store)), 0);
	read_count = back_count = 0;
	last_offset = 0;
	memset(gets, 0, sizeof(gets));
}

static void ask(uint32_t i)
{
	gets[i].get.id = store_id(&f, i, LEN);
	gets[i].get.done = store_get_done;
	cs_store_get(f.store, &gets[i].get);
}

static bool are_done(void *arg)
{
	(void)arg;
	ck_assert_uint_le(f.store->reads, f.store->media->queue_depth);
	for (uint32_t i = 0; i < COUNT; i++) {
		if (gets[i].get.done != NULL && !gets[i].is_done)
			return false;
	}
	return true;
}

static void wait_all(void)
{
	ck_assert(sim_world_run_until(f.world, are_done, NULL, 100 * SIM_S));
	for (uint32_t i = 0; i < COUNT; i++) {
		struct block_id id;
		if (gets[i].get.done == NULL)
			continue;
		struct buf *record = store_record(&f, i, LEN, &id);
		ck_assert_int_eq(gets[i].get.rc, 0);
		ck_assert_mem_eq(gets[i].get.record->data, record->data, record->len);
		buf_put(gets[i].get.record);
		buf_put(record);
	}
	ck_assert_ptr_null(f.store->waiting);
	ck_assert_uint_eq(f.store->reads, 0);
}

START_TEST(as_many_as_the_medium_takes)
{
	put_all((enum media_kind)_i);
	for (uint32_t n = 0; n < COUNT; n++) {
		ask(n * 101 % COUNT);
		if (n % 10 == 9)
			sim_world_run_for(f.world, 1); /* in many turns */
	}
	wait_all();
}
END_TEST

START_TEST(a_disk_that_seeks_goes_in_order)
{
	put_all(MEDIA_ROTATING);
	for (uint32_t n = 0; n < COUNT; n++) {
		ask(n * 101 % COUNT);
		if (n % 10 == 9)
			sim_world_run_for(f.world, 1);
	}
	wait_all();
	/* A sweep or a few over four segments, in runs of up to sixteen. */
	ck_assert_uint_lt(read_count, COUNT / 4);
	ck_assert_uint_lt(back_count, 20);
}
END_TEST

START_TEST(what_memory_holds_does_not_wait)
{
	put_all(MEDIA_SD);
	for (uint32_t i = 0; i < COUNT; i += 2)
		ask(i);
	while (f.store->waiting == NULL)
		sim_world_run_for(f.world, 1);
	is_cached = true;
	ask(1);
	sim_world_run_until(f.world, store_flag, &gets[1].is_done, SIM_S);
	ck_assert(gets[1].is_done && f.store->waiting != NULL);
	wait_all();
}
END_TEST

/* Wait until its segments are gone; those that wait are found at their new places. */
START_TEST(what_moves_while_it_waits_is_found)
{
	put_all(MEDIA_SD);
	cs_store_set_collection(f.store, 1);
	for (uint32_t i = 0; i < COUNT; i += 2) {
		struct block_id id = store_id(&f, i, LEN);
		ck_assert_int_eq(cs_store_trash(f.store, &id, 1), 0);
		ck_assert_int_eq(cs_store_free(f.store, &id), 0);
	}
	cs_store_compact(f.store, 10);
	for (uint32_t i = 1; i < COUNT; i += 2) {
		ask(i);
		sim_world_run_for(f.world, SIM_MS);
	}
	wait_all();
}
END_TEST

/* A sector that cannot be read fails its own block: the others come, whatever waits. */
START_TEST(damage_costs_its_block_only)
{
	put_all(MEDIA_ROTATING);
	struct cs_place place = store_place(&f, 7, LEN);
	store_flip(&f, place.segment, place.offset + RECORD_HEADER_BYTES);
	for (uint32_t i = 0; i < COUNT; i++)
		ask(i);
	ck_assert(sim_world_run_until(f.world, are_done, NULL, 100 * SIM_S));
	for (uint32_t i = 0; i < COUNT; i++) {
		ck_assert_int_eq(gets[i].get.rc, i == 7 ? -E_CORRUPT : 0);
		buf_put(gets[i].get.record);
	}
}
END_TEST

/* Neither what is being written nor what was: four segments, three of them full. */
START_TEST(the_system_reads_nothing_ahead)
{
	for (unsigned round = 0; round < 2; round++) {
		put_all(MEDIA_NVME);
		for (uint32_t i = 0; i < COUNT; i++)
			ask(i);
		wait_all();
		ck_assert_uint_ge(segment_opens, 4);
		ck_assert_uint_eq(ahead_opens, 0);
	}
}
END_TEST

TEST_MAIN("read_queue", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_loop_test(tc, as_many_as_the_medium_takes, 0, MEDIA_COUNT);
	  tcase_add_test(tc, a_disk_that_seeks_goes_in_order);
	  tcase_add_test(tc, what_memory_holds_does_not_wait);
	  tcase_add_test(tc, what_moves_while_it_waits_is_found);
	  tcase_add_test(tc, damage_costs_its_block_only);
	  tcase_add_test(tc, the_system_reads_nothing_ahead))
