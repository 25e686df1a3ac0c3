/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which content of the tiers is that of an inode now, reads of it, and the first touch. See
 * tiered.h.
 *
 * First touch: readers of a file asked for more than CL_FILL_TOUCH_BYTES of it (of a small one, for
 * half), however many they are and wherever they read: its content fills. Who opens a file, reads a
 * little and closes it (file, head, a loader that wants the header) shall not fetch all of it: a
 * fill that nobody but readers began ends with the last close if they asked for less than a
 * sixteenth. Beyond that the siblings of the shard follow, too.
 */
#include "client/core/tiered.h"

#include <stdlib.h>

#include "client/core/draft.h"
#include "client/core/fill.h"
#include "client/core/pins.h"
#include "client/core/siblings.h"
#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "tiered"

#define LITTLE_OF(length) ((length) / 16)

/* --- who may use it --------------------------------------------------------------------------- */

static bool is_quiet(const struct cl_node *node)
{
	const struct cl_file *file = node->file;
	return node->writers == 0 && !node->is_recalling &&
	       !(file && (cl_file_is_dirty(file) || file->edits));
}

const struct root *cl_tiered_root(struct client *c, const struct cl_node *node)
{
	if (!c->options.tiers || !cl_node_is_fresh(c, node) || !S_ISREG(node->attr.st.st_mode) ||
	    !is_quiet(node) || !cl_fill_may(c, &node->attr.root))
		return NULL;
	return &node->attr.root;
}

struct tier_file *client_tier_find(struct client *c, inode_no ino)
{
	const struct root *root = cl_tiered_root(c, cl_node_find(c, ino));
	if (!root || root->length < TIER_PIECE_BYTES)
		return NULL;
	struct tier_file *f = tiers_find(c->options.tiers, root);
	if (!f || tiers_is_sealed(c->options.tiers, root))
		return f;
	tier_put(f);
	return NULL;
}

void cl_tiered_recut(struct client *c, struct cl_node *node, const struct root *of,
		     const struct root *root)
{
	struct cl_file *file = node->file;
	if (root_equal(&node->pages_root, of))
		node->pages_root = *root;	/* the kernel's pages are still right */
	if (!c->options.tiers)
		return;
	tiers_recut(c->options.tiers, of, root);
	cl_fill_recut(c, of, root);
	cl_draft_recut(c, of, root);
	if (file && file->tier.is_asked && root_equal(&file->tier.root, of))
		file->tier.root = *root;
}

/* --- files in use ----------------------------------------------------------------------------- */

/* Loaded content that is what its root names, and nothing else. */
static const struct root *plain_root(const struct cl_file *file)
{
	const struct client *c = file->client;
	if (!c->fills || !file->is_loaded || file->chunk_count > 0 || file->is_alone ||
	    cl_file_is_dirty(file) || file->size != file->root.length ||
	    !cl_fill_may(c, &file->root))
		return NULL;
	return &file->root;
}

void cl_tiered_forget(struct cl_file *file)
{
	struct cl_tier_use *use = &file->tier;
	tier_put(use->file);
	*use = (struct cl_tier_use){ .file = NULL };
}

static void use_is_of(struct cl_file *file, const struct root *root)
{
	struct cl_tier_use *use = &file->tier;
	if (use->is_asked && root_equal(&use->root, root))
		return;
	cl_tiered_forget(file);
	use->root = *root;
	use->is_asked = true;
	use->file = tiers_find(file->client->options.tiers, root);
	if (use->file)
		tier_use(use->file);
}

/* Its file in a tier, in whatever state, without a reference; NULL: there is none. */
static struct tier_file *file_of(struct cl_file *file, const struct root *root)
{
	struct cl_tier_use *use = &file->tier;
	struct client *c = file->client;
	if (use->file && tier_state(use->file) != TIER_GONE)
		return use->file;
	tier_put(use->file);
	use->file = cl_fill_file(c, root);
	if (use->file)
		tier_ref(use->file);
	else if (tiers_is_sealed(c->options.tiers, root))
		use->file = tiers_find(c->options.tiers, root);
	return use->file;
}

/* --- first touch ------------------------------------------------------------------------------ */

static void touch(struct cl_file *file, const struct root *root, uint64_t len)
{
	struct cl_tier_use *use = &file->tier;
	use->read_bytes += len;
	if (use->read_bytes <= MIN_OF(CL_FILL_TOUCH_BYTES, root->length / 2))
		return;
	if (!file->has_cache_policy) {
		cl_policy_want(file);
		return;
	}
	if (file->cache_policy == CL_CACHE_NEVER)
		return;
	if (!use->is_touched) {
		int rc = cl_fill_start(file->client, root, CL_FILL_TOUCH, NULL);
		use->is_touched = rc >= 0 || rc != -E_OVERLOADED;
	}
	if (!use->is_followed && use->is_touched && use->read_bytes > LITTLE_OF(root->length)) {
		use->is_followed = true;
		cl_siblings_follow(file->client, file->node);
	}
}

static void pin(struct cl_file *file)
{
	struct cl_pins *pins = file->client->pins;
	if (pins && !cl_pins_has(pins, file->node->ino) && cl_pins_set(pins, file->node, true) < 0)
		log_warn("cannot pin inode %llu, as its folder asks",
			 (unsigned long long)file->node->ino);
}

void cl_tiered_policy(struct cl_file *file)
{
	const struct root *root = plain_root(file);
	if (file->cache_policy == CL_CACHE_NEVER) {
		cl_draft_forget(file);
		file->is_draft_refused = true;
		return;
	}
	if (file->cache_policy == CL_CACHE_PIN)
		pin(file);
	if (root && file->tier.is_asked && root_equal(root, &file->tier.root) &&
	    !tiers_is_sealed(file->client->options.tiers, root))
		touch(file, root, 0);
}

void cl_tiered_closed(struct cl_file *file)
{
	const struct cl_tier_use *use = &file->tier;
	struct client *c = file->client;
	if (use->is_touched && use->read_bytes < LITTLE_OF(use->root.length) &&
	    cl_fill_is_of(c, &use->root, CL_FILL_TOUCH))
		cl_fill_cancel(c, &use->root);
}

/* --- reads ------------------------------------------------------------------------------------ */

static void read_free(struct cl_tiered_read *tr)
{
	for (uint32_t i = 0; i < tr->buf_count; i++)
		buf_put(tr->bufs[i]);
	free(tr);
}

void cl_tiered_read_end(struct cl_tiered_read *tr)
{
	tr->done = NULL;
	if (!tr->is_away)
		read_free(tr);
}

/* One that is gone may have been changed meanwhile by whom it was detached for. */
static void read_came(struct tier_io *io)
{
	struct cl_tiered_read *tr = io->user;
	int rc = io->rc;
	tr->is_away = false;
	if (!tr->done) {
		read_free(tr);
		return;
	}
	if (rc == 0 && tier_state(io->file) == TIER_GONE)
		rc = -E_NODEV;
	if (rc == 0) {
		METRIC_INC(tier_reads);
		tr->client->stats.tier_reads++;
		tr->client->stats.tier_read_bytes += io->len;
	} else {
		METRIC_INC(tier_reads_failed);
		tr->client->stats.tier_reads_failed++;
	}
	tr->done(tr, rc);
}

/* Room for len bytes. False: there is none now. */
static bool read_buffers(struct cl_tiered_read *tr, uint64_t len)
{
	for (; len > 0; tr->buf_count++) {
		uint32_t count = (uint32_t)MIN_OF(len, BLOCK_BYTES_MAX);
		struct buf *buf = buf_get(tr->client->options.pool, count);
		if (!buf)
			return false;
		tr->bufs[tr->buf_count] = buf;
		tr->iov[tr->buf_count] = (struct iovec){ buf->data, count };
		len -= count;
	}
	return true;
}

static struct cl_tiered_read *read_begin(struct client *c, struct tier_file *f, uint64_t offset,
					 uint64_t len)
{
	struct cl_tiered_read *tr = calloc(1, sizeof *tr);
	if (!tr)
		return NULL;
	tr->client = c;
	if (!read_buffers(tr, len)) {
		read_free(tr);
		return NULL;
	}
	tr->io = (struct tier_io){ .file = f, .offset = offset, .iov = tr->iov,
				   .iov_count = tr->buf_count, .done = read_came, .user = tr };
	tr->is_away = true;
	tier_read(&tr->io);
	return tr;
}

struct cl_tiered_read *cl_tiered_read_start(struct cl_file *file, uint64_t offset, uint64_t len)
{
	const struct root *root = plain_root(file);
	if (!root || len == 0)
		return NULL;
	use_is_of(file, root);
	struct tier_file *f = file_of(file, root);
	if (!f || tier_state(f) != TIER_SEALED)
		touch(file, root, len);
	if (f && len <= CL_TIERED_READ_BYTES && tier_has(f, offset, len))
		return read_begin(file->client, f, offset, len);
	cl_fill_missed(file->client, root, offset, len);
	return NULL;
}
