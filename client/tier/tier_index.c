/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses outlive a restart: a file of each place, replaced whole when uses changed, but not more
 * often than every ten seconds, and at the end. What is lost of it costs a worse choice of what to
 * evict, nothing else.
 */
#include <stdlib.h>
#include <string.h>

#include "client/tier/tier_internal.h"
#include "fs/base/log.h"

#define LOG_MODULE "tier"

/* --- writing ---------------------------------------------------------------------------------- */

struct walk {
	const struct place *place;
	const struct tier_file *next;
};

static const struct tier_file *skip(const struct place *p, const struct tier_file *f)
{
	while (f != NULL && (f->place != p || f->state != TIER_SEALED))
		f = f->hh.next;
	return f;
}

static void next_use(void *arg, struct tier_format_use *out)
{
	struct walk *walk = arg;
	const struct tier_file *f = walk->next;

	out->root = f->item.root;
	out->uses = f->uses;
	out->used_wall_ns = f->used_wall_ns;
	walk->next = skip(walk->place, f->hh.next);
}

void tier_index_encode(struct place *p)
{
	struct walk walk = { .place = p, .next = skip(p, p->tiers->files) };
	uint32_t count = 0;

	for (const struct tier_file *f = walk.next; f != NULL; f = skip(p, f->hh.next))
		count++;
	p->uses_bytes = tier_format_index_bytes(count);
	p->uses = malloc(p->uses_bytes);
	if (p->uses != NULL)
		tier_format_index_encode(count, next_use, &walk, p->uses);
	p->is_index_old = false;
	p->index_ns = loop_now_ns(p->tiers->loop);
}

bool tier_index_start(struct place *p, void (*done)(struct tier_job *job))
{
	if (!p->is_index_old)
		return false;
	tier_index_encode(p);
	if (p->uses == NULL)
		return false;
	p->is_job_active = true;
	p->job.run = tier_index_run;
	p->job.done = done;
	tiers_job_start(&p->job);
	return true;
}

void tier_index_run(struct tier_job *job)
{
	const struct place *p = job->place;

	job->rc = p->uses == NULL
			  ? 0
			  : disk_replace_file(job->disk, TIER_FORMAT_INDEX_FILE, p->uses,
					      (uint32_t)p->uses_bytes);
}

/* --- reading ---------------------------------------------------------------------------------- */

int tier_index_read(struct disk *disk, void **out, size_t *out_bytes)
{
	uint32_t capacity = (uint32_t)tier_format_index_bytes(TIER_FORMAT_FILES_MAX);
	int rc;

	*out = malloc(capacity);
	if (*out == NULL)
		return -E_NOMEM;
	rc = disk_read_file(disk, TIER_FORMAT_INDEX_FILE, *out, capacity);
	*out_bytes = rc > 0 ? (size_t)rc : 0;
	return rc < 0 && rc != -E_NOENT ? rc : 0;
}

struct uses {
	struct tier_format_use *at;
	uint32_t count;
};

static void on_use(void *arg, const struct tier_format_use *use)
{
	struct uses *uses = arg;

	uses->at[uses->count++] = *use;
}

static int by_last_use(const void *a, const void *b)
{
	const struct tier_format_use *x = a, *y = b;

	return x->used_wall_ns < y->used_wall_ns ? -1 : x->used_wall_ns > y->used_wall_ns;
}

static void take_use(struct place *p, const struct tier_format_use *use)
{
	struct tier_file *f = tiers_lookup(p->tiers, &use->root);

	if (f == NULL || f->place != p)
		return;
	f->uses = use->uses;
	f->used_wall_ns = use->used_wall_ns;
	policy_restore(p->policy, &use->root, f->item.bytes, use->uses);
}

void tier_index_take(struct place *p, const void *bytes, size_t len)
{
	/* Of 64 bytes each. */
	struct uses uses = { .at = calloc(len / 64 + 1, sizeof *uses.at) };
	int rc = uses.at != NULL ? tier_format_index_decode(bytes, len, on_use, &uses) : -E_NOMEM;

	if (rc < 0 && len > 0)
		log_info("the uses of a cache tier are not known place='%s': %s", p->directory,
			 error_text(rc));
	if (rc == 0 && uses.count > 0)
		qsort(uses.at, uses.count, sizeof *uses.at, by_last_use);
	for (uint32_t i = 0; rc == 0 && i < uses.count; i++)
		take_use(p, &uses.at[i]);
	free(uses.at);
}
