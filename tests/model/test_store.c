/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store against a dictionary, over seeds: puts, gets, touches, trash, freeing, compaction,
 * records encoded anew, syncs, rolls, clean ends, killed processes and power cuts. After each:
 * durable is a subset of what is readable after a power cut, acknowledged of what is readable after
 * a crash, what was never put is never there, what was freed may come back but only as what it was,
 * and what is accounted for each segment is what its rows say (I1, I4, I9, I15).
 */
#include "chunk-server/store_internal.h"
#include "tests/check_main.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"

#include <string.h>

#define BLOCKS	 96u
#define PUTS_MAX 64u
#define STEPS	 640u
#define ANEW_MAX 6u

/* GONE was freed in this life of the process, so it is not there; after it, as TRIED. */
enum known { NEVER, GONE, TRIED, ACKED, DURABLE };

enum trashed { NO, MAYBE, YES };

struct model_put {
	struct cs_put put;
	struct model *model;
	uint32_t number;
	bool is_busy;
};

/* A record that is to take the place of another one. */
struct model_anew {
	struct cs_put put;
	struct cs_place from;
	struct model *model;
};

struct model {
	struct sim_world *world;
	struct sim_media *media;
	struct loop *loop;
	struct disk *disk;
	struct rows *index;
	struct buf_pool *pool;
	struct codec_scratch *codec;
	struct cs_store *store;
	enum known known[BLOCKS];
	uint64_t generations[BLOCKS]; /* of acknowledged ones */
	enum trashed trashed[BLOCKS];
	uint64_t touched[BLOCKS]; /* at least */
	uint64_t collection;
	struct model_put puts[PUTS_MAX];
	struct model_anew anew[ANEW_MAX];
	uint32_t anew_count, anew_written; /* 0: no round is under way */
	struct cs_round round;
};

static uint32_t length_of(uint32_t number)
{
	return 1 + number * 7919 % 40000;
}

static struct buf *record_as(struct model *m, uint32_t number, enum codec_aim aim,
			     struct block_id *id)
{
	static uint8_t plain[BLOCK_BYTES_MAX];
	struct buf *record = buf_get(m->pool, RECORD_BYTES_MAX);

	ck_assert_ptr_nonnull(record);
	for (uint32_t i = 0; i < length_of(number); i++)
		plain[i] = (uint8_t)(number * 31 + i * (number | 1));
	memcpy(plain, &number, MIN_OF(sizeof(number), length_of(number)));
	record->len = record_build(m->codec, HASH_SHA256, aim, plain, length_of(number),
				   record->data);
	memcpy(id->bytes, record->data + 8, BLOCK_ID_BYTES);
	return record;
}

static struct buf *record_of(struct model *m, uint32_t number, struct block_id *id)
{
	return record_as(m, number, codec_aim_of((enum codec)(number % CODEC_COUNT)), id);
}

/* --- lives ---- */

static bool is_rebuilt(const struct model *m)
{
	struct cs_store_stats stats;

	cs_store_stats(m->store, &stats);
	return stats.was_rebuilt;
}

static void begin_life(struct model *m, bool index_is_trusted)
{
	struct error err = {0};

	ck_assert_int_eq(sim_loop_create(m->world, "cs", &m->loop), 0);
	ck_assert_int_eq(sim_disk_create(m->media, &m->disk), 0);
	if (!index_is_trusted && m->index != NULL) {
		rows_destroy(m->index);
		m->index = NULL;
	}
	if (m->index == NULL)
		ck_assert_int_eq(rows_mem_create(&m->index), 0);
	struct cs_store_options options = {
		.loop = m->loop,
		.disk = m->disk,
		.index = m->index,
		.index_is_trusted = index_is_trusted,
		.pool = m->pool,
		.hash = HASH_SHA256,
		.segment_bytes = KiB(512),
		.sync_ms = 20,
		.sync_bytes = KiB(256),
		.full_percent = 100,
	};
	int rc = cs_store_open(&options, &m->store, &err);
	ck_assert_msg(rc == 0, "seed %llu: %s", (unsigned long long)sim_world_seed(m->world),
		      err.text);
	memset(m->puts, 0, sizeof(m->puts));
	m->anew_count = 0;
	/* Epochs are told anew: all that is there counts as touched in the first one. */
	cs_store_set_collection(m->store, ++m->collection);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		m->touched[i] = m->collection;
		/* What left the trash stays out; that it went there, or is free, may be lost. */
		if (m->trashed[i] == YES || m->known[i] == GONE)
			m->trashed[i] = MAYBE;
		if (m->known[i] == GONE)
			m->known[i] = TRIED;
		if (is_rebuilt(m))
			m->trashed[i] = NO;
	}
}

/* The end of a process, in order or not; what its disk had is still there. */
static void end_life(struct model *m, bool is_clean)
{
	if (is_clean) {
		ck_assert_int_eq(cs_store_close(m->store), 0);
	} else {
		sim_loop_kill(m->loop);
		cs_store_drop(m->store);
		rows_abort(m->index);
	}
	m->store = NULL;
	disk_destroy(m->disk);
	sim_loop_destroy(m->loop);
}

static void note_durable(struct model *m)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if (m->known[i] == ACKED && m->generations[i] <= cs_store_durable(m->store))
			m->known[i] = DURABLE;
	}
}

/* --- what is done ---- */

static void put_done(struct cs_put *put)
{
	struct model_put *p = container_of(put, struct model_put, put);
	struct model *m = p->model;

	p->is_busy = false;
	ck_assert_int_eq(put->rc, 0);
	/* It may have been freed again between the put and its answer. */
	if (m->known[p->number] == GONE || m->known[p->number] == DURABLE)
		return;
	m->known[p->number] = ACKED;
	m->generations[p->number] = put->generation;
	if (!put->was_there)
		m->trashed[p->number] = NO;
}

static void noted_as_wanted(struct model *m, uint32_t number)
{
	m->trashed[number] = NO;
	m->touched[number] = m->collection;
}

static void do_put(struct model *m)
{
	struct model_put *p = &m->puts[sim_world_below(m->world, PUTS_MAX)];

	if (p->is_busy)
		return;
	memset(p, 0, sizeof(*p));
	p->model = m;
	p->is_busy = true;
	p->number = (uint32_t)sim_world_below(m->world, BLOCKS);
	struct buf *record = record_of(m, p->number, &p->put.id);
	p->put.record = record;
	p->put.plain_len = length_of(p->number);
	p->put.done = put_done;
	if (m->known[p->number] == NEVER || m->known[p->number] == GONE)
		m->known[p->number] = TRIED;
	cs_store_put(m->store, &p->put);
	buf_put(record);
	struct cs_place place;
	if (cs_store_find(m->store, &p->put.id, &place) == 0)
		noted_as_wanted(m, p->number);
}

/* --- garbage ---- */

static struct block_id id_of(struct model *m, uint32_t number)
{
	struct block_id id;

	buf_put(record_of(m, number, &id));
	return id;
}

static bool is_in_flight(const struct model *m, uint32_t number)
{
	for (uint32_t i = 0; i < PUTS_MAX; i++) {
		if (m->puts[i].is_busy && m->puts[i].number == number)
			return true;
	}
	return false;
}

static void do_touch(struct model *m)
{
	uint32_t number = (uint32_t)sim_world_below(m->world, BLOCKS);
	struct block_id id = id_of(m, number);
	int rc = cs_store_touch(m->store, &id);

	ck_assert(rc == 0 || rc == -E_NO_BLOCK);
	if (rc == 0)
		noted_as_wanted(m, number);
}

static void do_trash(struct model *m)
{
	uint32_t number = (uint32_t)sim_world_below(m->world, BLOCKS);
	struct block_id id = id_of(m, number);
	bool out = sim_world_chance(m->world, SIM_MILLION / 8);
	int rc = cs_store_trash(m->store, &id, out ? 0 : 1000 + number);

	ck_assert(rc == 0 || rc == -E_NO_BLOCK);
	if (rc == 0)
		m->trashed[number] = out ? NO : YES;
}

static void do_free(struct model *m)
{
	uint32_t number = (uint32_t)sim_world_below(m->world, BLOCKS);
	struct block_id id = id_of(m, number);

	if (is_in_flight(m, number))
		return;
	int rc = cs_store_free(m->store, &id);
	if (rc == 0) {
		ck_assert(m->trashed[number] != NO);
		m->known[number] = GONE;
		m->trashed[number] = NO;
	} else {
		ck_assert(rc == -E_NO_BLOCK || (rc == -E_BUSY && m->trashed[number] != YES));
	}
}

static void do_epoch(struct model *m)
{
	cs_store_set_collection(m->store, ++m->collection);
}

static void do_compact(struct model *m)
{
	cs_store_compact(m->store, (uint32_t)sim_world_below(m->world, 60));
}

/* --- records encoded anew ---- */

static void round_done(struct cs_round *round)
{
	struct model *m = container_of(round, struct model, round);

	ck_assert_int_eq(round->rc, 0);
	ck_assert_uint_le(round->blocks, m->anew_count);
	m->anew_count = 0;
}

static void anew_written(struct cs_put *put)
{
	struct model_anew *a = container_of(put, struct model_anew, put);
	struct model *m = a->model;

	ck_assert_int_eq(put->rc, 0);
	cs_round_add(&m->round, put, &a->from);
	if (++m->anew_written == m->anew_count)
		cs_round_end(&m->round);
}

static void do_encode_anew(struct model *m)
{
	if (m->anew_count > 0)
		return;
	m->round = (struct cs_round){.store = m->store, .done = round_done};
	m->anew_written = 0;
	for (uint32_t i = 0; i < ANEW_MAX; i++) {
		struct model_anew *a = &m->anew[m->anew_count];
		uint32_t number = (uint32_t)sim_world_below(m->world, BLOCKS);
		enum codec_aim aim =
			(enum codec_aim)sim_world_below(m->world, CODEC_AIM_COUNT);
		memset(a, 0, sizeof(*a));
		struct buf *record = record_as(m, number, aim, &a->put.id);
		a->model = m;
		a->put.kind = CS_PUT_HEALING;
		a->put.plain_len = length_of(number);
		a->put.done = anew_written;
		a->put.record = record;
		if (cs_store_find(m->store, &a->put.id, &a->from) == 0) {
			m->anew_count++;
			cs_store_append(m->store, &a->put);
		}
		buf_put(record);
	}
}

/* What is accounted for each segment is what the rows of its blocks say. */
static void check_segments(struct model *m)
{
	static uint64_t live[BLOCKS * 64];
	struct block_id id = {{0}};
	struct cs_place place;

	ck_assert_uint_lt(m->store->next_number, ARRAY_COUNT(live));
	memset(live, 0, sizeof(live));
	for (bool behind = false; cs_store_next(m->store, &id, behind, &place) == 0; behind = true)
		live[place.segment] += store_padded(place.length);
	for (uint32_t i = 0; i < m->store->segment_count; i++) {
		const struct store_segment *segment = &m->store->segments[i];
		ck_assert_uint_eq(segment->live, live[segment->number]);
		live[segment->number] = 0;
	}
	for (uint32_t i = 0; i < ARRAY_COUNT(live); i++)
		ck_assert_uint_eq(live[i], 0);
}

struct model_get {
	struct cs_get get;
	bool is_done;
};

static void get_done(struct cs_get *get)
{
	container_of(get, struct model_get, get)->is_done = true;
}

static bool flag(void *arg)
{
	return *(bool *)arg;
}

static void check_block(struct model *m, uint32_t number)
{
	struct model_get g = {.get = {.done = get_done}};
	enum known known = m->known[number];
	struct buf *record = record_of(m, number, &g.get.id);

	cs_store_get(m->store, &g.get);
	ck_assert(sim_world_run_until(m->world, flag, &g.is_done, 10 * SIM_S));
	if (known == ACKED || known == DURABLE)
		ck_assert_msg(g.get.rc == 0, "seed %llu: block %u is lost: %s",
			      (unsigned long long)sim_world_seed(m->world), number,
			      error_text(g.get.rc));
	if (known == NEVER || known == GONE)
		ck_assert_int_eq(g.get.rc, -E_NO_BLOCK);
	if (g.get.rc == 0) {
		static uint8_t plain[BLOCK_BYTES_MAX], expected[BLOCK_BYTES_MAX];
		struct record found;
		ck_assert_int_eq(record_open(m->codec, HASH_SHA256, g.get.record->data,
					     g.get.record->len, true, &found, plain), 0);
		ck_assert_int_eq(record_open(m->codec, HASH_SHA256, record->data, record->len,
					     true, &found, expected), 0);
		ck_assert_uint_eq(found.plain_len, length_of(number));
		ck_assert_mem_eq(plain, expected, found.plain_len);
	}
	buf_put(g.get.record);
	buf_put(record);
}

static void check_all(struct model *m)
{
	uint32_t held = 0, trashed = 0;
	uint64_t stored = 0;
	struct cs_store_stats stats;

	for (uint32_t i = 0; i < BLOCKS; i++)
		check_block(m, i);
	/* No time passes from here: nothing is put meanwhile. */
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct block_id id;
		struct cs_place place;
		buf_put(record_of(m, i, &id));
		if (cs_store_find(m->store, &id, &place) < 0)
			continue;
		held++;
		trashed += place.trashed_ms != 0;
		stored += place.trashed_ms != 0 ? 0 : place.length;
		ck_assert_uint_ge(place.touched, m->touched[i]);
		ck_assert(place.trashed_ms == 0 || place.trashed_ms == 1000 + i);
		ck_assert(m->trashed[i] == MAYBE ||
			  (place.trashed_ms != 0) == (m->trashed[i] == YES));
	}
	cs_store_stats(m->store, &stats);
	ck_assert_uint_eq(stats.blocks + stats.blocks_trash, held);
	ck_assert_uint_eq(stats.blocks_trash, trashed);
	ck_assert_uint_eq(stats.bytes_stored, stored);
	check_segments(m);
}

struct model_sync {
	struct cs_sync sync;
	bool is_done;
};

static void sync_done(struct cs_sync *sync)
{
	container_of(sync, struct model_sync, sync)->is_done = true;
}

static void do_sync(struct model *m)
{
	struct model_sync s = {
		.sync = {.generation = cs_store_generation(m->store), .done = sync_done},
	};

	cs_store_sync(m->store, &s.sync);
	ck_assert(sim_world_run_until(m->world, flag, &s.is_done, 10 * SIM_S));
	ck_assert_int_eq(s.sync.rc, 0);
}

static bool is_idle(void *arg)
{
	return cs_store_is_idle(((struct model *)arg)->store);
}

static void do_end_in_order(struct model *m)
{
	ck_assert(sim_world_run_until(m->world, is_idle, m, 10 * SIM_S));
	end_life(m, true);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if (m->known[i] == ACKED)
			m->known[i] = DURABLE;
	}
	begin_life(m, sim_world_chance(m->world, SIM_MILLION / 2));
}

/* A start syncs what it finds: what was acknowledged is durable from then on. */
static void do_crash(struct model *m)
{
	sim_media_crash(m->media);
	end_life(m, false);
	begin_life(m, sim_world_chance(m->world, SIM_MILLION / 2));
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if (m->known[i] == ACKED)
			m->known[i] = DURABLE;
	}
}

static void do_power_cut(struct model *m)
{
	note_durable(m);
	sim_media_power_cut(m->media);
	end_life(m, false);
	begin_life(m, false);
	/* What was not durable may be there or not; what is there stays. */
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct block_id id;
		struct cs_place place;
		if (m->known[i] != ACKED && m->known[i] != TRIED)
			continue;
		buf_put(record_of(m, i, &id));
		m->known[i] = cs_store_find(m->store, &id, &place) == 0 ? DURABLE : TRIED;
	}
}

static void step(struct model *m)
{
	uint64_t dice = sim_world_below(m->world, 1000);

	if (dice < 400)
		do_put(m);
	else if (dice < 650)
		sim_world_run_for(m->world, sim_world_below(m->world, 5 * SIM_MS));
	else if (dice < 740)
		check_block(m, (uint32_t)sim_world_below(m->world, BLOCKS));
	else if (dice < 780)
		do_touch(m);
	else if (dice < 850)
		do_trash(m);
	else if (dice < 930)
		do_free(m);
	else if (dice < 935)
		do_epoch(m);
	else if (dice < 945)
		do_compact(m);
	else if (dice < 955)
		do_encode_anew(m);
	else if (dice < 970)
		do_sync(m);
	else if (dice < 978)
		do_end_in_order(m);
	else if (dice < 985)
		do_crash(m);
	else if (dice < 991)
		do_power_cut(m);
	else
		check_all(m);
	note_durable(m);
}

START_TEST(a_store_agrees_with_a_dictionary)
{
	static struct model m;

	memset(&m, 0, sizeof(m));
	ck_assert_int_eq(sim_world_create((uint64_t)_i, &m.world), 0);
	ck_assert_int_eq(sim_media_create(m.world, MiB(64), &m.media), 0);
	m.pool = buf_pool_create(MiB(16));
	m.codec = codec_scratch_create();
	begin_life(&m, false);
	for (uint32_t i = 0; i < STEPS; i++)
		step(&m);
	do_power_cut(&m);
	check_all(&m);
	end_life(&m, true);
	rows_destroy(m.index);
	sim_media_destroy(m.media);
	sim_world_destroy(m.world);
	codec_scratch_destroy(m.codec);
	ck_assert_uint_eq(buf_pool_used_bytes(m.pool), 0);
	buf_pool_destroy(m.pool);
}
END_TEST

TEST_MAIN("store model",
	  tcase_add_loop_test(tc, a_store_agrees_with_a_dictionary, 1, 1 + check_seeds(40)))
