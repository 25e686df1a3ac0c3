/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills: which goes next, and how each ends. Everything that starts or ends something happens in
 * turns of its own (pump), so that readers who cause it are served first and nothing recurses.
 */
#include "client/core/fill_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/base/text.h"

#define LOG_MODULE    "fill"
#define NS_PER_MS     UINT64_C(1000000)
#define PUMP_MS	      100u
#define QUIET_NS      (100 * NS_PER_MS)		/* of readers who miss, before a seal */
#define QUIET_NS_MAX  (5000 * NS_PER_MS)	/* whatever readers do */
#define IDLE_NS	      (1000 * NS_PER_MS)	/* for what nobody asked for */
#define MANIFEST_KEPT 4u

/* --- turns ------------------------------------------------------------------------------------ */

static uint64_t now_of(const struct cl_fills *fills)
{
	return loop_now_ns(fills->client->options.loop);
}

/* Pump within so many ms. */
static void pump_in(struct cl_fills *fills, uint64_t ms)
{
	uint64_t due_ns = now_of(fills) + ms * NS_PER_MS;
	if (fills->is_stopped || (fills->turn.is_active && fills->turn_ns <= due_ns))
		return;
	fills->turn_ns = due_ns;
	loop_timer_start(fills->client->options.loop, &fills->turn, ms);
}

/* --- the list --------------------------------------------------------------------------------- */

static struct cl_fill *fill_find(const struct client *c, const struct root *root)
{
	struct cl_fill *fill = NULL;
	if (c->fills)
		HASH_FIND(hh, c->fills->by_id, &root->id, sizeof root->id, fill);
	return fill && root_equal(&fill->root, root) ? fill : NULL;
}

static int by_urgency(const struct cl_fill *a, const struct cl_fill *b)
{
	return (int)a->why - (int)b->why;
}

/* Behind those of the same urgency. */
static void list_insert(struct cl_fills *fills, struct cl_fill *fill)
{
	struct cl_fill *at;
	DL_FOREACH(fills->list, at)
		if (by_urgency(at, fill) > 0)
			break;
	if (at)
		DL_PREPEND_ELEM(fills->list, at, fill);
	else
		DL_APPEND(fills->list, fill);
}

static int fill_make(struct client *c, const struct root *root, enum cl_fill_why why,
		     struct cl_fill **out)
{
	struct cl_fills *fills = c->fills;
	bool is_read = why == CL_FILL_TOUCH || why == CL_FILL_SIBLING;
	if (fills->count >= CL_FILLS_MAX - (is_read ? 0 : CL_FILLS_KEPT))
		return -E_OVERLOADED;
	struct cl_fill *fill = calloc(1, sizeof *fill);
	if (!fill)
		return -E_NOMEM;
	fill->client = c;
	fill->root = *root;
	fill->why = why;
	fill->state = FILL_WAITING;
	fill->piece_count = DIV_CEIL(root->length, TIER_PIECE_BYTES);
	HASH_ADD(hh, fills->by_id, root.id, sizeof fill->root.id, fill);
	if (!fill->hh.tbl) {
		free(fill);
		return -E_NOMEM;
	}
	list_insert(fills, fill);
	fills->count++;
	*out = fill;
	return 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void waits_tell(struct cl_fill_wait *waits, int rc)
{
	struct cl_fill_wait *wait;
	DL_FOREACH(waits, wait)
		wait->list = &waits;	/* so that one done() may cancel another */
	while ((wait = waits) != NULL) {
		DL_DELETE(waits, wait);
		wait->list = NULL;
		wait->done(wait, rc);
	}
}

static void fill_tell(const struct cl_fill *fill, int rc)
{
	char human[TEXT_BYTES_HUMAN];
	struct cl_stats *stats = &fill->client->stats;
	if (rc == 0) {
		METRIC_INC(fills_sealed);
		stats->fills_sealed++;
	} else if (rc != -E_CANCELED) {
		METRIC_INC(fills_failed);
		stats->fills_failed++;
		struct cl_fills *fills = fill->client->fills;
		fills->failed[fills->failed_next++ % FILLS_FAILED_MAX] =
			(struct fill_failure){ fill->root, rc };
		log_info("a file of %s does not fill a tier: %s",
			 text_bytes_human(human, fill->root.length), error_text(rc));
	}
}

static void fill_end(struct cl_fill *fill, int rc)
{
	struct cl_fills *fills = fill->client->fills;
	while (fill->pieces)
		cl_fill_piece_drop(fill->pieces);
	if (fill->hh.tbl)		/* else memory was short when it was renamed */
		HASH_DEL(fills->by_id, fill);
	DL_DELETE(fills->list, fill);
	fills->count--;
	if (fill->file) {
		fills->begun--;
		if (rc < 0 && fill->state != FILL_SEALING && tier_state(fill->file) != TIER_GONE)
			tier_drop(fill->file);
		tier_put(fill->file);
	}
	if (fill->seal)
		fill->seal->fill = NULL;
	fill_tell(fill, rc);
	manifest_destroy(fill->manifest);
	pump_in(fills, 0);
	struct cl_fill_wait *waits = fill->waits;
	free(fill);
	waits_tell(waits, rc);
}

static void seal_done(void *arg, int rc)
{
	struct fill_seal *seal = arg;
	struct cl_fill *fill = seal->fill;
	if (seal->fills)
		DL_DELETE(seal->fills->seals, seal);
	free(seal);
	if (fill) {
		fill->seal = NULL;
		fill->state = FILL_WHOLE;
		fill->rc = rc < 0 ? rc : 1;
		pump_in(fill->client->fills, 0);
	}
}

static void fill_seal(struct cl_fill *fill)
{
	struct cl_fills *fills = fill->client->fills;
	struct fill_seal *seal = calloc(1, sizeof *seal);
	if (!seal) {
		fill->rc = -E_NOMEM;
		return;
	}
	seal->fills = fills;
	seal->fill = fill;
	DL_APPEND(fills->seals, seal);
	fill->seal = seal;
	fill->state = FILL_SEALING;
	tier_seal(fill->file, seal_done, seal);
}

/* --- the begin -------------------------------------------------------------------------------- */

static int fill_run(struct cl_fill *fill)
{
	fill->client->fills->begun++;
	fill->client->stats.fills_begun++;
	fill->state = FILL_RUNNING;
	return manifest_create(&fill->root, fill->client->hash, MANIFEST_KEPT, &fill->manifest);
}

/* Room in a tier. The folders may still be read, or what is there be checked: a little later. */
static int fill_begin(struct cl_fill *fill)
{
	struct tiers *tiers = fill->client->options.tiers;
	int rc = tiers_begin(tiers, &fill->root, fill->why == CL_FILL_WARM, &fill->file);
	if (rc == -E_AGAIN || rc == -E_BUSY)
		return 0;
	if (rc == -E_EXIST)
		return tiers_is_sealed(tiers, &fill->root) ? 1 : 0;
	return rc < 0 ? rc : fill_run(fill);
}

static bool fill_may_run(const struct cl_fill *fill)
{
	const struct cl_fills *fills = fill->client->fills;
	return fill->why != CL_FILL_GUESS || now_of(fills) - fills->missed_ns >= IDLE_NS;
}

static void begin_some(struct cl_fills *fills)
{
	struct cl_fill *fill;
	DL_FOREACH(fills->list, fill)
		if (fill->state == FILL_WAITING && fill->rc == 0 && fill_may_run(fill) &&
		    fills->begun < FILLS_BEGUN_MAX)
			fill->rc = fill_begin(fill);
}

/* --- pieces ----------------------------------------------------------------------------------- */

static bool piece_is_open(const struct cl_fill *fill, uint64_t index)
{
	uint64_t offset = index * TIER_PIECE_BYTES;
	const struct fill_piece *piece;
	DL_FOREACH(fill->pieces, piece)
		if (piece->offset == offset)
			return false;
	return !tier_has(fill->file, offset,
			 MIN_OF(fill->root.length - offset, TIER_PIECE_BYTES));
}

static void wanted_shift(struct cl_fill *fill)
{
	fill->wanted_count--;
	memmove(fill->wanted, fill->wanted + 1, fill->wanted_count * sizeof fill->wanted[0]);
}

/* The oldest piece that readers asked for and is not there: its blocks leave the cache first. */
static bool wanted_next(struct cl_fill *fill, uint64_t *out)
{
	while (fill->wanted_count > 0) {
		*out = fill->wanted[0];
		wanted_shift(fill);
		if (piece_is_open(fill, *out))
			return true;
	}
	return false;
}

static void wanted_add(struct cl_fill *fill, uint64_t index)
{
	uint32_t count = fill->wanted_count;
	if (count > 0 && fill->wanted[count - 1] == index)
		return;
	if (count == FILL_WANTED_MAX)
		wanted_shift(fill);	/* the cursor comes by */
	fill->wanted[fill->wanted_count++] = index;
}

static bool cursor_next(struct cl_fill *fill, uint64_t *out)
{
	for (uint64_t i = 0; i < fill->piece_count && !fill->is_all_started; i++) {
		*out = (fill->cursor + i) % fill->piece_count;
		if (piece_is_open(fill, *out)) {
			fill->cursor = *out + 1;
			return true;
		}
	}
	fill->is_all_started = true;
	return false;
}

static bool piece_start(struct cl_fill *fill, bool (*next)(struct cl_fill *, uint64_t *))
{
	uint64_t index;
	if (fill->state != FILL_RUNNING || fill->rc != 0 || !fill_may_run(fill))
		return false;
	if (tier_state(fill->file) == TIER_GONE) {
		fill->rc = -E_NODEV;
		return false;
	}
	if (!next(fill, &index))
		return false;
	int rc = cl_fill_piece_start(fill, index);
	if (rc < 0)
		fill->rc = rc;
	return rc == 0;
}

static void start_some(struct cl_fills *fills, bool (*next)(struct cl_fill *, uint64_t *),
		       uint32_t max)
{
	struct cl_fill *fill;
	DL_FOREACH(fills->list, fill)
		while (fills->flying < max && piece_start(fill, next))
			;
}

/* What readers wait for comes anyway; of the rest, less while they miss and share the servers. */
static void start_pieces(struct cl_fills *fills)
{
	bool is_read = now_of(fills) - fills->missed_ns < QUIET_NS;
	uint32_t max = fills->flying_max;
	start_some(fills, wanted_next, max);
	start_some(fills, cursor_next, is_read ? DIV_CEIL(max, 2u) : max);
}

void cl_fill_piece_ended(struct cl_fill *fill, int rc)
{
	if (rc < 0 && fill->rc == 0)
		fill->rc = rc;
	pump_in(fill->client->fills, 0);
}

/* --- pump ------------------------------------------------------------------------------------- */

static bool is_time_to_seal(const struct cl_fill *fill)
{
	const struct cl_fills *fills = fill->client->fills;
	uint64_t now_ns = now_of(fills);
	return fill->waits || now_ns - fills->missed_ns >= QUIET_NS ||
	       now_ns - fill->whole_ns >= QUIET_NS_MAX;
}

static void seal_some(struct cl_fills *fills)
{
	struct cl_fill *fill;
	DL_FOREACH(fills->list, fill) {
		if (fill->state == FILL_RUNNING && fill->rc == 0 && !fill->pieces &&
		    tier_present_bytes(fill->file) == fill->root.length) {
			fill->state = FILL_WHOLE;
			fill->whole_ns = now_of(fills);
		}
		if (fill->state == FILL_WHOLE && fill->rc == 0 && is_time_to_seal(fill))
			fill_seal(fill);
	}
}

/* Who hears of an end may begin or cancel others. */
static void end_some(struct cl_fills *fills)
{
	struct cl_fill *fill;
	do {
		DL_FOREACH(fills->list, fill)
			if (fill->rc != 0 && fill->state != FILL_SEALING)
				break;
		if (fill)
			fill_end(fill, MIN_OF(fill->rc, 0));
	} while (fill);
}

static void pump(struct loop_timer *timer)
{
	struct cl_fills *fills = container_of(timer, struct cl_fills, turn);
	if (!fills->client->blocks) {
		pump_in(fills, PUMP_MS);
		return;
	}
	seal_some(fills);
	begin_some(fills);
	start_pieces(fills);
	end_some(fills);
	if (fills->list)
		pump_in(fills, PUMP_MS);
}

/* --- public ----------------------------------------------------------------------------------- */

bool cl_fill_may(const struct client *c, const struct root *root)
{
	return root_has_blocks(root) && root->length >= c->options.tier_min_bytes;
}

int cl_fill_start(struct client *c, const struct root *root, enum cl_fill_why why,
		  struct cl_fill_wait *wait)
{
	struct cl_fill *fill = fill_find(c, root);
	if (!c->fills || c->fills->is_stopped)
		return -E_NODEV;
	if (!root_has_blocks(root))
		return -E_INVAL;
	if (!fill && tiers_is_sealed(c->options.tiers, root))
		return 1;
	int rc = fill ? 0 : fill_make(c, root, why, &fill);
	if (rc < 0)
		return rc;
	if (why < fill->why) {
		DL_DELETE(c->fills->list, fill);
		fill->why = why;
		list_insert(c->fills, fill);
	}
	if (wait) {
		wait->list = &fill->waits;
		DL_APPEND(fill->waits, wait);
	}
	pump_in(c->fills, 0);
	return 0;
}

void cl_fill_cancel_wait(struct cl_fill_wait *wait)
{
	if (!wait->list)
		return;
	DL_DELETE(*wait->list, wait);
	wait->list = NULL;
}

void cl_fill_cancel(struct client *c, const struct root *root)
{
	struct cl_fill *fill = fill_find(c, root);
	if (fill && !fill->waits && fill->state != FILL_SEALING)
		fill_end(fill, -E_CANCELED);
}

static struct cl_fill_info info_of(const struct cl_fill *fill)
{
	return (struct cl_fill_info){
		.root = fill->root, .why = fill->why, .bytes = fill->root.length,
		.done_bytes = fill->file ? tier_present_bytes(fill->file) : 0,
	};
}

bool cl_fill_find(const struct client *c, const struct root *root, struct cl_fill_info *out)
{
	const struct cl_fill *fill = fill_find(c, root);
	if (fill)
		*out = info_of(fill);
	return fill != NULL;
}

void cl_fill_list(const struct client *c, bool (*fn)(void *arg, const struct cl_fill_info *info),
		  void *arg)
{
	const struct cl_fill *fill;
	if (!c->fills)
		return;
	DL_FOREACH(c->fills->list, fill) {
		struct cl_fill_info info = info_of(fill);
		if (!fn(arg, &info))
			return;
	}
}

int cl_fill_failed(const struct client *c, const struct root *root)
{
	const struct cl_fills *fills = c->fills;
	for (uint32_t i = 1; fills && i <= MIN_OF(fills->failed_next, FILLS_FAILED_MAX); i++) {
		const struct fill_failure *f =
			&fills->failed[(fills->failed_next - i) % FILLS_FAILED_MAX];
		if (root_equal(&f->root, root))
			return f->rc;
	}
	return 0;
}

void cl_fill_missed(struct client *c, const struct root *root, uint64_t offset, uint64_t len)
{
	struct cl_fill *fill = fill_find(c, root);
	if (!c->fills)
		return;
	c->fills->missed_ns = now_of(c->fills);
	if (!fill || len == 0 || fill->state > FILL_RUNNING)
		return;
	uint64_t first = offset / TIER_PIECE_BYTES, last = (offset + len - 1) / TIER_PIECE_BYTES;
	for (uint64_t i = first; i <= last; i++)
		wanted_add(fill, i);
	fill->cursor = last + 1;
	pump_in(c->fills, 0);
}

bool cl_fill_is_of(const struct client *c, const struct root *root, enum cl_fill_why why)
{
	const struct cl_fill *fill = fill_find(c, root);
	return fill && fill->why == why && !fill->waits;
}

struct tier_file *cl_fill_file(const struct client *c, const struct root *root)
{
	const struct cl_fill *fill = fill_find(c, root);
	return fill ? fill->file : NULL;
}

/* Its pieces go on: what they have is the same bytes, what they lack they find by the new root. */
void cl_fill_recut(struct client *c, const struct root *of, const struct root *root)
{
	struct cl_fill *fill = fill_find(c, of);
	if (!fill || fill_find(c, root) ||
	    (fill->file && !root_equal(tier_root(fill->file), root)))
		return;
	HASH_DEL(c->fills->by_id, fill);
	fill->root = *root;
	HASH_ADD(hh, c->fills->by_id, root.id, sizeof fill->root.id, fill);
	int rc = fill->hh.tbl ? 0 : -E_NOMEM;
	if (rc == 0 && fill->manifest) {
		struct manifest *old = fill->manifest;
		rc = manifest_create(root, c->hash, MANIFEST_KEPT, &fill->manifest);
		if (rc == 0)
			manifest_destroy(old);
	}
	if (rc < 0)
		cl_fill_piece_ended(fill, rc);
}

void cl_fill_adopt(struct client *c, struct tier_file *file)
{
	struct cl_fill *fill = fill_find(c, tier_root(file));
	int rc = fill ? (fill->file ? -E_EXIST : 0)
		      : fill_make(c, tier_root(file), CL_FILL_WARM, &fill);
	if (rc < 0) {
		tier_drop(file);
		tier_put(file);
		return;
	}
	fill->file = file;
	fill->rc = fill_run(fill);
	pump_in(c->fills, 0);
}

int cl_fill_init(struct client *c)
{
	if (!c->options.tiers)
		return 0;
	struct cl_fills *fills = calloc(1, sizeof *fills);
	if (!fills)
		return -E_NOMEM;
	fills->client = c;
	fills->turn.fn = pump;
	/* a sixteenth of the memory, so that small clients stay small */
	uint64_t pieces = c->options.memory_bytes / 16 / TIER_PIECE_BYTES;
	fills->flying_max = (uint32_t)MIN_OF(MAX_OF(pieces, 1u), FILL_PIECES_MAX);
	c->fills = fills;
	return 0;
}

void cl_fill_stop(struct client *c)
{
	if (!c->fills)
		return;
	c->fills->is_stopped = true;
	loop_timer_stop(c->options.loop, &c->fills->turn);
	while (c->fills->list) {
		struct cl_fill *fill = c->fills->list;
		/* What is complete is worth its sync; one that is sealed just has not ended. */
		if (fill->state == FILL_WHOLE && fill->rc == 0)
			fill_seal(fill);
		fill_end(fill, fill->rc == 0 ? -E_CANCELED : MIN_OF(fill->rc, 0));
	}
}

void cl_fill_finish(struct client *c)
{
	struct fill_piece *piece;
	struct fill_seal *seal;
	if (!c->fills)
		return;
	cl_fill_stop(c);
	DL_FOREACH(c->fills->orphans, piece)
		piece->fills = NULL;
	DL_FOREACH(c->fills->seals, seal)
		seal->fills = NULL;
	free(c->fills);
	c->fills = NULL;
}
