/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One story of a store - puts, syncs, trash, frees, records encoded anew, compaction, more puts -
 * with one fault in it, once for each call of the disk that could fail, until the story passes
 * without: power cuts at every change, and errors of every call. Whatever fails: what was called
 * durable is there and exact, what was freed is gone or exact, what was never put is not there,
 * nothing waits for ever, and no fault but a lack of room is shrugged off (I4, I8, I15). The same
 * for changes of the index; and a disk that is full serves, and gives back.
 */
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"
#include "tests/trip_disk.h"
#include "tests/trip_rows.h"

#include "chunk-server/store.h"

#define BLOCKS	  48u
#define LEN_OF(n) (1u + (n)*7919u % 60000u)

enum fate { NEVER, TRIED, ACKED, DURABLE, FREED };

static struct sim_world *world;
static struct sim_media *media;
static struct loop *loop;
static struct disk *disk;
static struct trip_disk tripper;
static struct rows *rows;
static struct trip_rows trip_index;
static uint64_t media_bytes = MiB(32);
static struct buf_pool *pool;
static struct codec_scratch *codec;
static struct cs_store *store;
static enum fate fates[BLOCKS];
static uint32_t failures;
static uint64_t fault_at; /* the call that failed */

static void store_failed(void *arg, int rc)
{
	(void)arg;
	(void)rc;
	failures++;
}

static void begin(void)
{
	ck_assert_int_eq(sim_world_create(1, &world), 0);
	ck_assert_int_eq(sim_media_create(world, media_bytes, &media), 0);
	ck_assert_int_eq(rows_mem_create(&rows), 0);
	pool = buf_pool_create(MiB(16));
	codec = codec_scratch_create();
	memset(fates, 0, sizeof(fates));
	failures = 0;
	store = NULL;
}

static void end(void)
{
	rows_destroy(rows);
	sim_media_destroy(media);
	sim_world_destroy(world);
	codec_scratch_destroy(codec);
	ck_assert_uint_eq(buf_pool_used_bytes(pool), 0);
	buf_pool_destroy(pool);
}

/* --- lives ---- */

static void life_begin(void)
{
	ck_assert_int_eq(sim_loop_create(world, "cs", &loop), 0);
	ck_assert_int_eq(sim_disk_create(media, &disk), 0);
	trip_disk_init(&tripper, disk);
	trip_rows_init(&trip_index, rows);
}

static int store_open(bool index_is_trusted)
{
	struct error err = {0};
	struct cs_store_options options = {
		.loop = loop,
		.disk = &tripper.base,
		.index = &trip_index.base,
		.index_is_trusted = index_is_trusted,
		.pool = pool,
		.hash = HASH_SHA256,
		.segment_bytes = KiB(512),
		.sync_ms = 20,
		.sync_bytes = KiB(256),
		.full_percent = 100,
		.on_failed = store_failed,
	};

	return cs_store_open(&options, &store, &err);
}

/* Without a word: as a crash, or a power cut. */
static void life_end(bool is_power_cut)
{
	if (is_power_cut)
		sim_media_power_cut(media);
	else
		sim_media_crash(media);
	sim_loop_kill(loop);
	cs_store_drop(store);
	store = NULL;
	rows_abort(rows);
	disk_destroy(disk);
	sim_loop_destroy(loop);
}

/* --- blocks ---- */

static struct buf *record_as(uint32_t number, enum codec_aim aim, struct block_id *id)
{
	static uint8_t plain[BLOCK_BYTES_MAX];
	struct buf *record = buf_get(pool, RECORD_BYTES_MAX);

	ck_assert_ptr_nonnull(record);
	for (uint32_t i = 0; i < LEN_OF(number); i++)
		plain[i] = (uint8_t)(number * 37 + i * (number | 1));
	memcpy(plain, &number, MIN_OF(sizeof(number), LEN_OF(number)));
	record->len =
		record_build(codec, HASH_SHA256, aim, plain, LEN_OF(number), record->data);
	memcpy(id->bytes, record->data + 8, BLOCK_ID_BYTES);
	return record;
}

static struct buf *record_of(uint32_t number, struct block_id *id)
{
	return record_as(number, CODEC_AIM_RAW, id);
}

static struct block_id id_of(uint32_t number)
{
	struct block_id id;

	buf_put(record_of(number, &id));
	return id;
}

struct waiter {
	union {
		struct cs_put put;
		struct cs_get get;
		struct cs_sync sync;
	};
	bool is_done;
};

static bool done_flag(void *arg)
{
	return ((struct waiter *)arg)->is_done;
}

static void wait_for(struct waiter *w)
{
	ck_assert(sim_world_run_until(world, done_flag, w, 10 * SIM_S));
}

static void put_done(struct cs_put *put)
{
	container_of(put, struct waiter, put)->is_done = true;
}

static int put(uint32_t number)
{
	struct waiter w = {.put = {.plain_len = LEN_OF(number), .done = put_done}};

	w.put.record = record_of(number, &w.put.id);
	if (fates[number] == NEVER)
		fates[number] = TRIED;
	cs_store_put(store, &w.put);
	buf_put(w.put.record);
	wait_for(&w);
	if (w.put.rc == 0 && fates[number] < ACKED)
		fates[number] = ACKED;
	return w.put.rc;
}

static void get_done(struct cs_get *get)
{
	container_of(get, struct waiter, get)->is_done = true;
}

static int get(uint32_t number)
{
	struct waiter w = {.get = {.done = get_done}};
	struct buf *record = record_of(number, &w.get.id);

	cs_store_get(store, &w.get);
	wait_for(&w);
	if (w.get.rc == 0) {
		static uint8_t plain[BLOCK_BYTES_MAX];
		struct record found;
		ck_assert_int_eq(record_open(codec, HASH_SHA256, w.get.record->data,
					     w.get.record->len, true, &found, plain), 0);
		ck_assert_uint_eq(found.plain_len, LEN_OF(number));
		ck_assert_mem_eq(plain, record->data + RECORD_HEADER_BYTES, found.plain_len);
	}
	buf_put(w.get.record);
	buf_put(record);
	return w.get.rc;
}

static void sync_done(struct cs_sync *sync)
{
	container_of(sync, struct waiter, sync)->is_done = true;
}

static void sync_all(void)
{
	struct waiter w = {.sync = {.generation = cs_store_generation(store), .done = sync_done}};

	cs_store_sync(store, &w.sync);
	wait_for(&w);
	for (uint32_t i = 0; i < BLOCKS && w.sync.rc == 0; i++) {
		if (fates[i] == ACKED)
			fates[i] = DURABLE;
	}
}

static void free_block(uint32_t number)
{
	struct block_id id = id_of(number);

	if (cs_store_trash(store, &id, 1) == 0 && cs_store_free(store, &id) == 0)
		fates[number] = FREED;
}

static bool rests(void *arg)
{
	(void)arg;
	return !cs_store_is_compacting(store) && cs_store_is_idle(store);
}

static void compact(void)
{
	cs_store_compact(store, 0);
	ck_assert(sim_world_run_until(world, rests, NULL, 100 * SIM_S));
}

/* --- encoding anew ---- */

struct round_waiter {
	struct cs_round round;
	bool is_done;
};

static void round_done(struct cs_round *round)
{
	container_of(round, struct round_waiter, round)->is_done = true;
}

static bool round_flag(void *arg)
{
	return ((struct round_waiter *)arg)->is_done;
}

/* Every block from `first` on, by `step`, gets a record of another codec. */
static void encode_anew(uint32_t first, uint32_t step)
{
	static struct round_waiter r;

	r = (struct round_waiter){.round = {.store = store, .done = round_done}};
	for (uint32_t i = first; i < BLOCKS; i += step) {
		struct waiter w = {.put = {.kind = CS_PUT_HEALING, .done = put_done}};
		struct cs_place from;
		w.put.record = record_as(i, CODEC_AIM_LZ4, &w.put.id);
		if (cs_store_find(store, &w.put.id, &from) == 0) {
			cs_store_append(store, &w.put);
			wait_for(&w);
			if (w.put.rc == 0)
				cs_round_add(&r.round, &w.put, &from);
		}
		buf_put(w.put.record);
	}
	cs_round_end(&r.round);
	ck_assert(sim_world_run_until(world, round_flag, &r, 10 * SIM_S));
}

/* --- the story ---- */

static void story(void)
{
	for (uint32_t i = 0; i < 32; i++) {
		(void)put(i);
		if (i % 10 == 9)
			sync_all();
	}
	sync_all();
	for (uint32_t i = 0; i < 32; i += 2)
		free_block(i);
	(void)get(1);
	encode_anew(3, 4);
	compact();
	for (uint32_t i = 32; i < BLOCKS; i++)
		(void)put(i);
	sync_all();
	free_block(33);
	encode_anew(1, 3);
	compact();
}

/* What the story did is there: at least what was durable, or all that was answered. */
static void check(bool all_answered)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		int rc = get(i);
		if (fates[i] == DURABLE || (fates[i] == ACKED && all_answered))
			ck_assert_msg(rc == 0, "call %llu: block %u of fate %d is lost: %s",
				      (unsigned long long)fault_at, i, (int)fates[i],
				      error_text(rc));
		else if (fates[i] == NEVER)
			ck_assert_int_eq(rc, -E_NO_BLOCK);
		else
			ck_assert(rc == 0 || rc == -E_NO_BLOCK);
		if (fates[i] == ACKED && rc < 0)
			fates[i] = TRIED;
	}
}

/* The next life finds everything, and compaction of all that is dead takes nothing along. */
static void check_next_life(bool index_is_trusted, bool all_answered)
{
	life_begin();
	ck_assert_int_eq(store_open(index_is_trusted), 0);
	check(all_answered);
	compact();
	check(all_answered);
	ck_assert(!cs_store_is_failed(store));
	sync_all();
	life_end(true);
	life_begin();
	ck_assert_int_eq(store_open(false), 0);
	check(all_answered);
	life_end(false);
}

START_TEST(power_goes_at_every_change)
{
	bool has_tripped = true;

	for (uint64_t at = 1; has_tripped; at++) {
		fault_at = at;
		begin();
		life_begin();
		trip_disk_arm(&tripper, TRIP_CHANGES, at, -E_IO);
		tripper.for_ever = true;
		if (store_open(false) == 0)
			story();
		has_tripped = tripper.has_tripped;
		life_end(true);
		check_next_life(false, false);
		end();
		ck_assert_uint_lt(at, 10000);
	}
}
END_TEST

static const struct {
	uint32_t kind;
	int rc;
	bool is_survived; /* the store goes on */
} faults[] = {
	{TRIP_OPEN, -E_IO, true},	 {TRIP_READ, -E_IO, true},
	{TRIP_WRITE, -E_IO, false},	 {TRIP_WRITE, -E_NOSPC, true},
	{TRIP_WRITE, -E_ROFS, false},	 {TRIP_SYNC, -E_IO, false},
	{TRIP_TRUNCATE, -E_IO, false},	 {TRIP_TRUNCATE, -E_NOSPC, true},
	{TRIP_ALLOCATE, -E_NOSPC, true}, {TRIP_ALLOCATE, -E_IO, false},
	{TRIP_UNLINK, -E_IO, false},
};

START_TEST(one_call_fails)
{
	bool has_tripped = true;

	for (uint64_t at = 1; has_tripped; at++) {
		fault_at = at;
		begin();
		life_begin();
		ck_assert_int_eq(store_open(false), 0);
		trip_disk_arm(&tripper, faults[_i].kind, at, faults[_i].rc);
		story();
		has_tripped = tripper.has_tripped;
		/* It failed alone and said so, or it had no reason to. */
		ck_assert_uint_le(failures, 1);
		ck_assert_uint_eq(failures, cs_store_is_failed(store));
		if (!has_tripped || (faults[_i].is_survived && faults[_i].kind != TRIP_OPEN))
			ck_assert_msg(failures == 0, "call %llu gave the disk up",
				      (unsigned long long)at);
		bool has_failed = cs_store_is_failed(store);
		tripper.kinds = 0;
		check(!has_failed);
		life_end(false);
		check_next_life(at % 2 == 0, !has_failed);
		end();
		ck_assert_uint_lt(at, 10000);
	}
}
END_TEST

START_TEST(a_start_that_fails_can_be_repeated)
{
	bool has_tripped = true;

	for (uint64_t at = 1; has_tripped; at++) {
		fault_at = at;
		begin();
		life_begin();
		ck_assert_int_eq(store_open(false), 0);
		story();
		life_end(_i == 1);
		life_begin();
		trip_disk_arm(&tripper, TRIP_OPEN | TRIP_READ | TRIP_CHANGES, at, -E_IO);
		int rc = store_open(_i == 0);
		has_tripped = tripper.has_tripped;
		ck_assert(rc == 0 || has_tripped);
		ck_assert_uint_eq(failures, 0);
		tripper.kinds = 0;
		if (rc == 0)
			check(false);
		life_end(false);
		check_next_life(_i == 0 && at % 2 == 0, false);
		end();
		ck_assert_uint_lt(at, 10000);
	}
}
END_TEST

static const struct {
	int rc;
	bool is_survived;
} index_faults[] = {{-E_NOSPC, true}, {-E_IO, false}};

START_TEST(one_change_of_the_index_fails)
{
	bool has_tripped = true;

	for (uint64_t at = 1; has_tripped; at += 3) {
		fault_at = at;
		begin();
		life_begin();
		ck_assert_int_eq(store_open(false), 0);
		trip_rows_arm(&trip_index, at, index_faults[_i].rc);
		story();
		has_tripped = trip_index.has_tripped;
		trip_index.at = 0;
		ck_assert_uint_eq(failures, has_tripped && !index_faults[_i].is_survived);
		bool has_failed = cs_store_is_failed(store);
		check(!has_failed);
		life_end(false);
		check_next_life(at % 2 == 0, !has_failed);
		end();
		ck_assert_uint_lt(at, 10000);
	}
}
END_TEST

/*
 * A sync failed, and the system dropped the pages as clean: they are read, but never reach the
 * disk. The process died before it could cut them off. The next one must not take its own sync for
 * theirs (I4).
 */
START_TEST(what_a_failed_sync_left_in_memory_is_not_believed)
{
	struct sim_media_faults drops = {.sync_drops = 1000000}, none = {0};
	struct waiter w = {.sync = {.done = sync_done}};

	begin();
	life_begin();
	ck_assert_int_eq(store_open(false), 0);
	for (uint32_t i = 0; i < (_i == 0 ? 4 : 17); i++)
		ck_assert_int_eq(put(i), 0);
	sim_media_set_faults(media, &drops);
	/* In a sync, or in the sealing of a segment. */
	for (uint32_t i = 17; _i == 2 && i < BLOCKS; i++)
		(void)put(i);
	w.sync.generation = cs_store_generation(store);
	cs_store_sync(store, &w.sync);
	while (!cs_store_is_failed(store))
		ck_assert(sim_world_step(world));
	sim_media_set_faults(media, &none);
	life_end(false);
	life_begin();
	ck_assert_int_eq(store_open(true), 0);
	check(false);
	sync_all();
	life_end(true);
	life_begin();
	ck_assert_int_eq(store_open(false), 0);
	check(false);
	life_end(false);
	end();
}
END_TEST

/* --- a full disk ---- */

#define MANY 1000u

static int put_kind(uint32_t number, enum cs_put_kind kind)
{
	struct waiter w = {.put = {.plain_len = LEN_OF(number), .kind = kind, .done = put_done}};

	w.put.record = record_of(number, &w.put.id);
	cs_store_put(store, &w.put);
	buf_put(w.put.record);
	wait_for(&w);
	return w.put.rc;
}

/* Puts until one is refused; the number of that one. */
static uint32_t fill(uint32_t from, enum cs_put_kind kind)
{
	while (from < MANY) {
		int rc = put_kind(from, kind);
		if (rc < 0) {
			ck_assert_int_eq(rc, -E_NOSPC);
			return from;
		}
		from++;
	}
	ck_abort_msg("the disk does not fill");
}

START_TEST(a_full_disk_serves_and_gives_back)
{
	static bool is_there[MANY];
	struct cs_store_stats stats;
	uint32_t last = 0;

	memset(is_there, 0, sizeof(is_there));
	media_bytes = MiB(16);
	begin();
	life_begin();
	ck_assert_int_eq(store_open(false), 0);
	for (uint32_t round = 0; round < 3; round++) {
		uint32_t first = last;
		last = fill(first, CS_PUT_ORDINARY);
		ck_assert_uint_gt(last, first + 20);
		ck_assert(!cs_store_takes_puts(store));
		cs_store_stats(store, &stats);
		ck_assert_uint_lt(stats.bytes_free, KiB(512));
		if (_i == 1) {
			/* Healing goes on a little longer, and leaves room for compaction. */
			uint32_t healed = fill(last, CS_PUT_HEALING);
			ck_assert_uint_gt(healed, last);
			last = healed;
		}
		for (uint32_t i = first; i < last; i++)
			is_there[i] = true;
		for (uint32_t i = round; i < last; i += 3) {
			struct block_id id = id_of(i);
			if (!is_there[i])
				continue;
			ck_assert_int_eq(cs_store_trash(store, &id, 1), 0);
			ck_assert_int_eq(cs_store_free(store, &id), 0);
			is_there[i] = false;
		}
		compact();
		ck_assert(cs_store_takes_puts(store));
		cs_store_stats(store, &stats);
		ck_assert_uint_gt(stats.bytes_free, MiB(1));
		for (uint32_t i = 0; i < last; i++)
			ck_assert_int_eq(get(i), is_there[i] ? 0 : -E_NO_BLOCK);
	}
	ck_assert_uint_eq(failures, 0);
	life_end(false);
	end();
	media_bytes = MiB(32);
}
END_TEST

TEST_MAIN("store faults", tcase_add_test(tc, power_goes_at_every_change);
	  tcase_add_loop_test(tc, one_call_fails, 0, ARRAY_COUNT(faults));
	  tcase_add_loop_test(tc, one_change_of_the_index_fails, 0, ARRAY_COUNT(index_faults));
	  tcase_add_loop_test(tc, what_a_failed_sync_left_in_memory_is_not_believed, 0, 3);
	  tcase_add_loop_test(tc, a_full_disk_serves_and_gives_back, 0, 2);
	  tcase_add_loop_test(tc, a_start_that_fails_can_be_repeated, 0, 2))
