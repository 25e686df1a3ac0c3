/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients with a cache tier, over tests/client_cluster.h: the next client that is made gets the
 * tiers that were made last.
 */
#ifndef CAIRN_TESTS_CLIENT_TIERS_H
#define CAIRN_TESTS_CLIENT_TIERS_H

#include "client/core/fill.h"
#include "tests/client_cluster.h"

static struct tiers *tiers_of_client;

/* Of the tiers that are made next; NULL: nobody is told. */
static void (*tiers_on_sealed)(void *arg, const struct root *root);

static inline void tiers_use(struct cluster *w, struct cl_options *options)
{
	(void)w;
	options->tiers = tiers_of_client;
	options->tier_min_bytes = MiB(1);
	options->memory_bytes = MiB(64);
}

/* A tier in a folder of that name, read and ready. */
static inline struct tiers *tiers_make(struct cluster *w, const char *name, uint64_t bytes_max)
{
	char path[512];
	snprintf(path, sizeof path, "%s", scratch_path(&w->scratch, name));
	struct tier_place place = { .directory = path, .bytes_max = bytes_max };
	struct tiers_options o = { .loop = w->loop, .places = &place, .place_count = 1,
				   .boot_id = 1, .on_sealed = tiers_on_sealed, .arg = w };
	struct tiers *t;
	ck_assert_int_eq(tiers_create(&o, &t), 0);
	tiers_start(t);
	while (!tiers_is_ready(t))
		cluster_run_for(w, 5);
	tiers_of_client = t;
	cluster_client_hook = tiers_use;
	return t;
}

static inline void tiers_ended(void *arg)
{
	loop_uv_stop(((struct cluster *)arg)->loop);
}

static inline void tiers_end(struct cluster *w, struct tiers *t)
{
	tiers_stop(t, tiers_ended, w);
	loop_uv_run(w->loop);
	tiers_destroy(t);
	cluster_client_hook = NULL;
}

/* The content of this inode is sealed within ten seconds. */
static inline struct tier_file *tiers_await(struct cluster *w, struct client *c, inode_no ino)
{
	struct tier_file *f = NULL;
	for (unsigned i = 0; i < 1000 && !f; i++) {
		cluster_run_for(w, 10);
		f = client_tier_find(c, ino);
	}
	return f;
}

static inline struct cl_stats tiers_stats(const struct client *c)
{
	struct cl_stats stats;
	client_stats(c, &stats);
	return stats;
}

/* Write a file of these bytes, and close it. */
static inline inode_no tiers_write_file(struct cluster *w, struct client *c, const char *name,
					const uint8_t *bytes, uint64_t len)
{
	struct cl_handle *h = file_create(w, c, name);
	for (uint64_t at = 0; at < len; at += MiB(1))
		ck_assert_int_eq(file_write(w, c, h, at, bytes + at,
					    (uint32_t)MIN_OF(MiB(1), len - at)), 0);
	ck_assert_int_eq(file_close(w, c, h), 0);
	return file_lookup(w, c, name);
}

/* What is read of it by steps of `step` is these bytes. */
static inline void tiers_expect(struct cluster *w, struct client *c, struct cl_handle *h,
				const uint8_t *bytes, uint64_t len)
{
	static uint8_t seen[MiB(1)];
	for (uint64_t at = 0; at < len; at += sizeof seen) {
		uint32_t count = (uint32_t)MIN_OF(sizeof seen, len - at);
		ck_assert_int_eq(file_read(w, c, h, at, seen, sizeof seen), (int)count);
		ck_assert_mem_eq(seen, bytes + at, count);
	}
}

#endif
