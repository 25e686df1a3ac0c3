/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cache tiers on simulated disks, and the short words that their tests are told in. Content is made
 * from the id of its root, so that whoever reads a byte knows what it should be.
 */
#ifndef CAIRN_TESTS_TIER_WORLD_H
#define CAIRN_TESTS_TIER_WORLD_H

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "client/tier/tier.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_loop.h"

#define TIER_WORLD_PLACES 3u
#define TIER_WORLD_WAIT	  (60 * SIM_S)

struct tier_world {
	struct sim_world *world;
	struct loop *loop;
	struct sim_media *media[TIER_WORLD_PLACES];
	struct disk *disks[TIER_WORLD_PLACES];
	struct tier_place places[TIER_WORLD_PLACES];
	uint32_t place_count;
	enum tier_policy policy;
	uint64_t boot_id, scrub_bytes_per_s;
	struct tiers *tiers;
	uint32_t sealed_count, gone_count;	/* told */
	struct root gone_last;
	uint64_t sum;			/* of the last write */
	bool is_done;				/* of a transfer, seal or stop */
	int rc;
	/* or NULL: what stands between a tier and its disk; the wrapper is the caller's */
	struct disk *(*wrap)(struct disk *inner);
	void (*each_step)(struct tier_world *w);	/* or NULL: what holds at any time */
	/* or NULL: who else is told */
	void (*on_sealed)(void *arg, const struct root *root);
	void (*on_gone)(void *arg, const struct root *root);
};

/* Byte `at` of the content with that id. */
static inline uint8_t tier_world_byte(const struct root *root, uint64_t at)
{
	uint64_t x = (at / 8 + 1) * 0x9e3779b97f4a7c15u ^ root->id.bytes[0] ^
		     (uint64_t)root->id.bytes[1] << 8;

	x ^= x >> 29;
	return (uint8_t)(x * 0xbf58476d1ce4e5b9u >> (at % 8 * 8));
}

static inline void tier_world_bytes(const struct root *root, uint64_t offset, uint8_t *out,
				    uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		out[i] = tier_world_byte(root, offset + i);
}

static inline struct root tier_world_root(uint32_t number, uint64_t length)
{
	struct root root = { .kind = ROOT_NODE, .depth = 1, .length = length };

	memcpy(root.id.bytes, &number, sizeof number);
	root.id.bytes[31] = 1;
	return root;
}

static inline void tier_world_on_sealed(void *arg, const struct root *root)
{
	struct tier_world *w = arg;

	w->sealed_count++;
	if (w->on_sealed != NULL)
		w->on_sealed(w, root);
}

static inline void tier_world_on_gone(void *arg, const struct root *root)
{
	struct tier_world *w = arg;

	w->gone_count++;
	w->gone_last = *root;
	if (w->on_gone != NULL)
		w->on_gone(w, root);
}

static inline bool tier_world_is_ready(void *arg)
{
	return tiers_is_ready(((struct tier_world *)arg)->tiers);
}

static inline bool tier_world_is_done(void *arg)
{
	struct tier_world *w = arg;

	if (w->each_step != NULL)
		w->each_step(w);
	return w->is_done;
}

static inline void tier_world_await(struct tier_world *w)
{
	ck_assert(sim_world_run_until(w->world, tier_world_is_done, w, TIER_WORLD_WAIT));
	w->is_done = false;
}

/* A process with these places begins. */
static inline void tier_world_start(struct tier_world *w)
{
	struct tiers_options options = {
		.places = w->places,
		.place_count = w->place_count,
		.policy = w->policy,
		.boot_id = w->boot_id,
		.scrub_bytes_per_s = w->scrub_bytes_per_s,
		.on_sealed = tier_world_on_sealed,
		.on_gone = tier_world_on_gone,
		.arg = w,
	};

	ck_assert_int_eq(sim_loop_create(w->world, "client", &w->loop), 0);
	for (uint32_t i = 0; i < w->place_count; i++) {
		if (w->media[i] == NULL)
			continue;		/* a real folder */
		ck_assert_int_eq(sim_disk_create(w->media[i], &w->disks[i]), 0);
		w->places[i].disk = w->wrap != NULL ? w->wrap(w->disks[i]) : w->disks[i];
		w->places[i].directory = "";
	}
	options.loop = w->loop;
	ck_assert_int_eq(tiers_create(&options, &w->tiers), 0);
	tiers_start(w->tiers);
	ck_assert(sim_world_run_until(w->world, tier_world_is_ready, w, TIER_WORLD_WAIT));
}

/* `place_count` places of bytes_max each, on media of twice that. */
static inline void tier_world_init(struct tier_world *w, uint64_t seed, uint32_t place_count,
				   uint64_t bytes_max)
{
	memset(w, 0, sizeof *w);
	ck_assert_int_eq(sim_world_create(seed, &w->world), 0);
	w->place_count = place_count;
	w->boot_id = 7;
	for (uint32_t i = 0; i < place_count; i++) {
		ck_assert_int_eq(sim_media_create(w->world, 2 * bytes_max, &w->media[i]), 0);
		w->places[i].bytes_max = bytes_max;
	}
}

static inline void tier_world_forget(struct tier_world *w)
{
	sim_loop_kill(w->loop);
	tiers_destroy(w->tiers);
	sim_loop_destroy(w->loop);
	for (uint32_t i = 0; i < w->place_count; i++)
		disk_destroy(w->disks[i]);
	w->tiers = NULL;
}

static inline void tier_world_stopped(void *arg)
{
	((struct tier_world *)arg)->is_done = true;
}

static inline void tier_world_stop(struct tier_world *w)
{
	tiers_stop(w->tiers, tier_world_stopped, w);
	tier_world_await(w);
	tier_world_forget(w);
}

/* The process dies; with it the machine, if the power is cut. */
static inline void tier_world_crash(struct tier_world *w, bool power_cut)
{
	sim_loop_kill(w->loop);
	for (uint32_t i = 0; i < w->place_count; i++) {
		if (power_cut)
			sim_media_power_cut(w->media[i]);
		else
			sim_media_crash(w->media[i]);
	}
	w->boot_id += power_cut;
	tier_world_forget(w);
}

static inline void tier_world_finish(struct tier_world *w)
{
	if (w->tiers != NULL)
		tier_world_stop(w);
	for (uint32_t i = 0; i < w->place_count; i++)
		sim_media_destroy(w->media[i]);
	sim_world_destroy(w->world);
}

/* --- files ------------------------------------------------------------------------------------ */

static inline void tier_world_io_done(struct tier_io *io)
{
	struct tier_world *w = io->user;

	w->rc = io->rc;
	w->is_done = true;
}

/* Write [offset, offset + len) of the content of `root`. */
static inline int tier_world_write(struct tier_world *w, struct tier_file *f,
				   const struct root *root, uint64_t offset, uint64_t len)
{
	uint8_t *bytes = malloc(len);
	struct iovec iov[2] = { { bytes, len / 3 }, { bytes + len / 3, len - len / 3 } };
	struct tier_io io = { .file = f, .offset = offset, .iov = iov, .iov_count = 2,
			      .done = tier_world_io_done, .user = w, .wants_sum = true };

	tier_world_bytes(root, offset, bytes, len);
	tier_write(&io);
	tier_world_await(w);
	w->sum = io.sum;
	free(bytes);
	return w->rc;
}

/* Read it, and compare: 1 if it is right, 0 if it is wrong, or an error. */
static inline int tier_world_read(struct tier_world *w, struct tier_file *f,
				  const struct root *root, uint64_t offset, uint64_t len)
{
	uint8_t *bytes = calloc(2, len), *want = bytes + len;
	struct iovec iov = { bytes, len };
	struct tier_io io = { .file = f, .offset = offset, .iov = &iov, .iov_count = 1,
			      .done = tier_world_io_done, .user = w };
	int rc;

	tier_read(&io);
	tier_world_await(w);
	tier_world_bytes(root, offset, want, len);
	rc = w->rc < 0 ? w->rc : memcmp(bytes, want, len) == 0;
	free(bytes);
	return rc;
}

static inline void tier_world_sealed(void *arg, int rc)
{
	struct tier_world *w = arg;

	w->rc = rc;
	w->is_done = true;
}

static inline int tier_world_seal(struct tier_world *w, struct tier_file *f)
{
	tier_seal(f, tier_world_sealed, w);
	tier_world_await(w);
	return w->rc;
}

/* All pieces, in order, and the seal; the reference is put. */
static inline int tier_world_fill(struct tier_world *w, const struct root *root)
{
	struct tier_file *f;
	int rc = tiers_begin(w->tiers, root, false, &f);

	if (rc < 0)
		return rc;
	for (uint64_t at = 0; at < root->length && rc == 0; at += TIER_PIECE_BYTES)
		rc = tier_world_write(w, f, root, at, MIN_OF(TIER_PIECE_BYTES, root->length - at));
	if (rc == 0)
		rc = tier_world_seal(w, f);
	tier_put(f);
	return rc;
}

/* Is it sealed, and right from end to end? */
static inline bool tier_world_holds(struct tier_world *w, const struct root *root)
{
	struct tier_file *f = tiers_find(w->tiers, root);
	bool is_right = f != NULL && tier_state(f) == TIER_SEALED;

	for (uint64_t at = 0; is_right && at < root->length; at += TIER_PIECE_BYTES)
		is_right = tier_world_read(w, f, root, at,
					   MIN_OF(TIER_PIECE_BYTES, root->length - at)) == 1;
	tier_put(f);
	return is_right;
}

/* As an open and a close. False: it is not here. */
static inline bool tier_world_use(struct tier_world *w, const struct root *root)
{
	struct tier_file *f = tiers_find(w->tiers, root);

	if (f != NULL)
		tier_use(f);
	tier_put(f);
	return f != NULL;
}

static inline uint64_t tier_world_used(const struct tier_world *w, uint32_t place)
{
	struct tiers_info info;

	tiers_info(w->tiers, &info);
	return info.places[place].bytes_used;
}

#endif
