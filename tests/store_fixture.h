/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One store on a real directory, with a loop in virtual time: tests put, get, sync, crash and
 * reopen it in a line each. Blocks are made from a number, so that a number is all a test
 * remembers.
 */
#ifndef CAIRN_TESTS_STORE_FIXTURE_H
#define CAIRN_TESTS_STORE_FIXTURE_H

#include <check.h>
#include <fcntl.h>
#include <string.h>

#include "chunk-server/store.h"
#include "tests/scratch.h"
#include "tests/sim/sim_loop.h"

#define STORE_TEST_SEGMENT_BYTES KiB(512)

struct store_fixture {
	struct scratch scratch;
	struct sim_world *world;
	struct loop *loop;
	struct disk *disk;
	struct rows *index;
	struct buf_pool *pool;
	struct codec_scratch *codec;
	struct cs_store *store;
	uint32_t failures; /* how often on_failed was called */
	uint32_t damaged;  /* and on_damaged */
	enum media_kind media; /* from the next opening on */
};

static inline void store_failed(void *arg, int rc)
{
	(void)rc;
	((struct store_fixture *)arg)->failures++;
}

/* The first time nothing can be noted. */
static inline void store_damaged(void *arg, struct cs_store *store, const struct block_id *id,
				 const struct cs_place *place)
{
	if (((struct store_fixture *)arg)->damaged++ > 0)
		cs_store_quarantine(store, id, place);
}

static inline int store_try_open(struct store_fixture *f, bool index_is_trusted)
{
	struct error err = {0};
	struct cs_store_options options = {
		.loop = f->loop,
		.disk = f->disk,
		.index = f->index,
		.index_is_trusted = index_is_trusted,
		.pool = f->pool,
		.hash = HASH_SHA256,
		.segment_bytes = STORE_TEST_SEGMENT_BYTES,
		.sync_ms = 100,
		.sync_bytes = MiB(64),
		.full_percent = 100,
		.media = f->media,
		.on_failed = store_failed,
		.on_damaged = store_damaged,
		.arg = f,
	};

	memset(options.cluster, 1, UUID_BYTES);
	memset(options.disk_uuid, 2, UUID_BYTES);
	return cs_store_open(&options, &f->store, &err);
}

static inline void store_begin(struct store_fixture *f)
{
	memset(f, 0, sizeof(*f));
	scratch_init(&f->scratch);
	ck_assert_int_eq(sim_world_create(1, &f->world), 0);
	ck_assert_int_eq(sim_loop_create(f->world, "cs", &f->loop), 0);
	ck_assert_int_eq(disk_posix_create(f->scratch.path, &f->disk), 0);
	ck_assert_int_eq(rows_mem_create(&f->index), 0);
	f->pool = buf_pool_create(MiB(64));
	f->codec = codec_scratch_create();
	ck_assert_int_eq(store_try_open(f, false), 0);
}

/* As a killed process: the loop is silent, memory is gone; files and index stay as they are. */
static inline void store_crash(struct store_fixture *f)
{
	sim_loop_kill(f->loop);
	cs_store_drop(f->store);
	f->store = NULL;
	sim_loop_destroy(f->loop);
	ck_assert_int_eq(sim_loop_create(f->world, "cs", &f->loop), 0);
	rows_abort(f->index);
}

static inline bool store_is_idle(void *arg)
{
	return cs_store_is_idle(((struct store_fixture *)arg)->store);
}

static inline int store_close(struct store_fixture *f)
{
	ck_assert(sim_world_run_until(f->world, store_is_idle, f, 10 * SIM_S));
	int rc = cs_store_close(f->store);
	f->store = NULL;
	return rc;
}

static inline void store_reopen(struct store_fixture *f, bool index_is_trusted)
{
	if (f->store != NULL)
		(void)store_close(f);
	ck_assert_int_eq(store_try_open(f, index_is_trusted), 0);
}

static inline void store_end(struct store_fixture *f)
{
	if (f->store != NULL)
		(void)store_close(f);
	sim_loop_destroy(f->loop);
	sim_world_destroy(f->world);
	rows_destroy(f->index);
	disk_destroy(f->disk);
	ck_assert_int_eq(buf_pool_used_bytes(f->pool), 0);
	buf_pool_destroy(f->pool);
	codec_scratch_destroy(f->codec);
	scratch_finish(&f->scratch);
}

/* --- blocks ---- */

/* The record of block `number`: `len` plain bytes, none of them zero, that no codec shrinks. */
static inline struct buf *store_record(struct store_fixture *f, uint32_t number, uint32_t len,
				       struct block_id *id)
{
	static uint8_t plain[BLOCK_BYTES_MAX];
	uint64_t state = number * 0x9e3779b97f4a7c15ull + len;

	for (uint32_t i = 0; i < len; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		plain[i] = (uint8_t)((state >> 40) | 1);
	}
	struct buf *record = buf_get(f->pool, RECORD_BYTES_MAX);
	ck_assert_ptr_nonnull(record);
	record->len = record_build(f->codec, HASH_SHA256, CODEC_AIM_RAW, plain, len, record->data);
	memcpy(id->bytes, record->data + 8, BLOCK_ID_BYTES);
	return record;
}

static inline struct block_id store_id(struct store_fixture *f, uint32_t number, uint32_t len)
{
	struct block_id id;

	buf_put(store_record(f, number, len, &id));
	return id;
}

struct store_put {
	struct cs_put put;
	bool is_done;
};

static inline void store_put_done(struct cs_put *put)
{
	container_of(put, struct store_put, put)->is_done = true;
}

static inline void store_put_start(struct store_fixture *f, uint32_t number, uint32_t len,
				   struct store_put *p)
{
	memset(p, 0, sizeof(*p));
	struct buf *record = store_record(f, number, len, &p->put.id);
	p->put.record = record;
	p->put.plain_len = len;
	p->put.done = store_put_done;
	cs_store_put(f->store, &p->put);
	buf_put(record);
}

static inline bool store_flag(void *arg)
{
	return *(bool *)arg;
}

static inline int store_put(struct store_fixture *f, uint32_t number, uint32_t len)
{
	struct store_put p;

	store_put_start(f, number, len, &p);
	ck_assert(sim_world_run_until(f->world, store_flag, &p.is_done, 10 * SIM_S));
	return p.put.rc;
}

struct store_get {
	struct cs_get get;
	bool is_done;
};

static inline void store_get_done(struct cs_get *get)
{
	container_of(get, struct store_get, get)->is_done = true;
}

/* 0: block `number` came back as it was put. */
static inline int store_get(struct store_fixture *f, uint32_t number, uint32_t len)
{
	struct store_get g = {.get = {.done = store_get_done}};
	struct buf *record = store_record(f, number, len, &g.get.id);

	cs_store_get(f->store, &g.get);
	ck_assert(sim_world_run_until(f->world, store_flag, &g.is_done, 10 * SIM_S));
	if (g.get.rc == 0) {
		ck_assert_uint_eq(g.get.record->len, record->len);
		ck_assert_mem_eq(g.get.record->data, record->data, record->len);
	}
	buf_put(g.get.record);
	buf_put(record);
	return g.get.rc;
}

struct store_sync {
	struct cs_sync sync;
	bool is_done;
};

static inline void store_sync_done(struct cs_sync *sync)
{
	container_of(sync, struct store_sync, sync)->is_done = true;
}

static inline int store_sync(struct store_fixture *f, uint64_t generation)
{
	struct store_sync s = {.sync = {.generation = generation, .done = store_sync_done}};

	cs_store_sync(f->store, &s.sync);
	ck_assert(sim_world_run_until(f->world, store_flag, &s.is_done, 10 * SIM_S));
	return s.sync.rc;
}

static inline struct cs_store_stats store_stats(struct store_fixture *f)
{
	struct cs_store_stats stats;

	cs_store_stats(f->store, &stats);
	return stats;
}

/* --- damage ---- */

static inline int store_segment_fd(struct store_fixture *f, uint64_t number)
{
	char name[64];

	snprintf(name, sizeof(name), "segments/seg-%016llx", (unsigned long long)number);
	int fd = open(scratch_path(&f->scratch, name), O_RDWR);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static inline void store_overwrite(struct store_fixture *f, uint64_t segment, uint64_t offset,
				   const void *bytes, size_t len)
{
	int fd = store_segment_fd(f, segment);

	ck_assert_int_eq(pwrite(fd, bytes, len, (off_t)offset), (ssize_t)len);
	close(fd);
}

static inline void store_flip(struct store_fixture *f, uint64_t segment, uint64_t offset)
{
	int fd = store_segment_fd(f, segment);
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x55;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

static inline struct cs_place store_place(struct store_fixture *f, uint32_t number, uint32_t len)
{
	struct block_id id = store_id(f, number, len);
	struct cs_place place;

	ck_assert_int_eq(cs_store_find(f->store, &id, &place), 0);
	return place;
}

#endif
