/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes by id, retries by thread; see knode.h. A node has an entry while it is open or reserved, an
 * aside also while the kernel knows it. All asides of an inode are found by their ids.
 */
#include "client/fuse/knode.h"

#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct knode {
	uint64_t id;
	uint64_t lookups;		/* of the kernel; of asides only */
	uint32_t opens, reserved;	/* reserved: for plain opens */
	const void *backing;		/* while open */
	UT_hash_handle hh;
};

struct retry {
	int tid;
	bool is_plain;
	uint64_t refused, told;		/* nodes; 0: none */
	uint64_t reserved;		/* likewise */
	void *kept;
	uint64_t begin_ns;
	UT_hash_handle hh;
};

struct knode_table {
	struct knode *nodes;
	struct retry *retries;		/* in order of their begin */
	unsigned aside_count;
};

/* --- entries --------------------------------------------------------------------------------- */

/* The home of an inode for 0, else an aside; 0: the number has no room for one. */
static uint64_t id_of(inode_no ino, unsigned index)
{
	if (index == 0)
		return ino;
	if (ino >> KNODE_INO_BITS)
		return 0;
	return UINT64_C(1) << 63 | (uint64_t)index << KNODE_INO_BITS | ino;
}

bool knode_is_valid(uint64_t id)
{
	uint64_t index = id >> KNODE_INO_BITS & ((UINT64_C(1) << (63 - KNODE_INO_BITS)) - 1);

	return knode_ino(id) != 0 && (!knode_is_aside(id) || (index >= 1 && index <= KNODE_ASIDES));
}

static struct knode *node_find(const struct knode_table *t, uint64_t id)
{
	struct knode *node;

	HASH_FIND(hh, t->nodes, &id, sizeof id, node);
	return node;
}

static int node_get(struct knode_table *t, uint64_t id, struct knode **out)
{
	struct knode *node = node_find(t, id);

	*out = node;
	if (node)
		return 0;
	if (knode_is_aside(id) && t->aside_count >= KNODE_ASIDES_MAX)
		return -E_NOSPC;
	node = calloc(1, sizeof *node);
	if (!node)
		return -E_NOMEM;
	node->id = id;
	HASH_ADD(hh, t->nodes, id, sizeof node->id, node);
	if (!node->hh.tbl) {
		free(node);
		return -E_NOMEM;
	}
	t->aside_count += knode_is_aside(id);
	*out = node;
	return 0;
}

static void node_put(struct knode_table *t, struct knode *node)
{
	if (node->opens || node->reserved || node->lookups)
		return;
	t->aside_count -= knode_is_aside(node->id);
	HASH_DEL(t->nodes, node);
	free(node);
}

struct knode_table *knode_create(void)
{
	return calloc(1, sizeof(struct knode_table));
}

void knode_destroy(struct knode_table *t)
{
	struct knode *node, *next;
	struct retry *retry, *next_retry;

	if (!t)
		return;
	HASH_ITER(hh, t->nodes, node, next) {
		HASH_DEL(t->nodes, node);
		free(node);
	}
	HASH_ITER(hh, t->retries, retry, next_retry) {
		HASH_DEL(t->retries, retry);
		free(retry);
	}
	free(t);
}

/* --- opens ----------------------------------------------------------------------------------- */

static bool is_free(const struct knode *node)
{
	return !node || (!node->opens && !node->reserved);
}

static bool is_used_for(const struct knode *node, const void *backing)
{
	return !is_free(node) && node->backing == backing;
}

/* The node of this inode that plain opens use; 0: none does. */
static uint64_t plain_node(const struct knode_table *t, inode_no ino)
{
	for (unsigned i = 0; i < KNODE_NODES; i++)
		if (is_used_for(node_find(t, id_of(ino, i)), NULL))
			return id_of(ino, i);
	return 0;
}

bool knode_fits(const struct knode_table *t, uint64_t id, const void *backing)
{
	const struct knode *node = node_find(t, id);

	if (!is_free(node))
		return node->backing == backing;
	/* most inodes have only their home, which is free: nothing to search */
	return backing || t->aside_count == 0 || plain_node(t, knode_ino(id)) == 0;
}

uint64_t knode_choose(const struct knode_table *t, inode_no ino, const void *backing)
{
	uint64_t free_id = 0;

	for (unsigned i = 0; i < KNODE_NODES && id_of(ino, i); i++) {
		const struct knode *node = node_find(t, id_of(ino, i));

		if (is_used_for(node, backing))
			return id_of(ino, i);
		if (!free_id && is_free(node) && (node || i == 0 ||
						  t->aside_count < KNODE_ASIDES_MAX))
			free_id = id_of(ino, i);
	}
	return free_id;
}

int knode_open(struct knode_table *t, uint64_t id, const void *backing)
{
	struct knode *node;
	int rc = node_get(t, id, &node);

	if (rc < 0)
		return rc == -E_NOSPC ? -E_NOMEM : rc;
	ASSERT(is_free(node) || node->backing == backing);
	node->backing = backing;
	node->opens++;
	return 0;
}

void knode_release(struct knode_table *t, uint64_t id)
{
	struct knode *node = node_find(t, id);

	ASSERT(node && node->opens > 0);
	if (--node->opens == 0)
		node->backing = NULL;
	node_put(t, node);
}

const void *knode_backing(const struct knode_table *t, uint64_t id)
{
	const struct knode *node = node_find(t, id);

	return node ? node->backing : NULL;
}

/* --- what the kernel knows ------------------------------------------------------------------- */

int knode_looked_up(struct knode_table *t, uint64_t id)
{
	struct knode *node;
	int rc = knode_is_aside(id) ? node_get(t, id, &node) : 0;

	if (rc == 0 && knode_is_aside(id))
		node->lookups++;
	return rc;
}

void knode_forget(struct knode_table *t, uint64_t id, uint64_t lookups)
{
	struct knode *node = knode_is_aside(id) ? node_find(t, id) : NULL;

	if (!node)
		return;
	node->lookups -= MIN_OF(lookups, node->lookups);
	node_put(t, node);
}

unsigned knode_list(const struct knode_table *t, inode_no ino, uint64_t out[KNODE_NODES])
{
	unsigned count = 1;

	out[0] = ino;
	for (unsigned i = 1; t->aside_count > 0 && i < KNODE_NODES; i++)
		if (node_find(t, id_of(ino, i)))
			out[count++] = id_of(ino, i);
	return count;
}

bool knode_has_asides(const struct knode_table *t, inode_no ino)
{
	uint64_t ids[KNODE_NODES];

	return t->aside_count > 0 && knode_list(t, ino, ids) > 1;
}

/* --- retries --------------------------------------------------------------------------------- */

static struct retry *retry_find(const struct knode_table *t, int tid)
{
	struct retry *retry;

	HASH_FIND_INT(t->retries, &tid, retry);
	return retry;
}

static void retry_unreserve(struct knode_table *t, struct retry *retry)
{
	struct knode *node = retry->reserved ? node_find(t, retry->reserved) : NULL;

	retry->reserved = 0;
	if (!node)
		return;
	node->reserved--;
	node_put(t, node);
}

static void retry_free(struct knode_table *t, struct retry *retry)
{
	retry_unreserve(t, retry);
	HASH_DEL(t->retries, retry);
	free(retry);
}

bool knode_retry_begin(struct knode_table *t, int tid, uint64_t id, bool is_plain, uint64_t now_ns)
{
	struct retry *retry;

	if (tid <= 0 || retry_find(t, tid) || HASH_COUNT(t->retries) >= KNODE_RETRIES_MAX)
		return false;
	retry = calloc(1, sizeof *retry);
	if (!retry)
		return false;
	retry->tid = tid;
	retry->refused = id;
	retry->is_plain = is_plain;
	retry->begin_ns = now_ns;
	HASH_ADD_INT(t->retries, tid, retry);
	if (!retry->hh.tbl) {
		free(retry);
		return false;
	}
	return true;
}

bool knode_retry_find(const struct knode_table *t, int tid, bool *is_plain)
{
	const struct retry *retry = retry_find(t, tid);

	if (retry)
		*is_plain = retry->is_plain;
	return retry != NULL;
}

void knode_retry_tell(struct knode_table *t, int tid, uint64_t id)
{
	struct retry *retry = retry_find(t, tid);

	if (retry)
		retry->told = id;
}

void knode_retry_reserve(struct knode_table *t, int tid, uint64_t id)
{
	struct retry *retry = retry_find(t, tid);
	struct knode *node;

	if (!retry || retry->reserved == id)
		return;
	retry_unreserve(t, retry);
	/* without memory it may be taken away meanwhile, and is then served as well as it can be */
	if (node_get(t, id, &node) < 0)
		return;
	ASSERT(!node->backing);
	node->reserved++;
	retry->reserved = id;
}

bool knode_retry_keep(struct knode_table *t, int tid, void *kept)
{
	struct retry *retry = retry_find(t, tid);

	if (!retry || retry->kept)
		return false;
	retry->kept = kept;
	return true;
}

static void *kept_take(struct retry *retry)
{
	void *kept = retry->kept;

	retry->kept = NULL;
	return kept;
}

void *knode_retry_peek(const struct knode_table *t, int tid)
{
	const struct retry *retry = retry_find(t, tid);

	return retry ? retry->kept : NULL;
}

void *knode_retry_take(struct knode_table *t, int tid)
{
	struct retry *retry = retry_find(t, tid);

	return retry ? kept_take(retry) : NULL;
}

bool knode_retry_end(struct knode_table *t, int tid, uint64_t id)
{
	struct retry *retry = retry_find(t, tid);
	bool is_second;

	if (!retry)
		return false;
	ASSERT(!retry->kept);
	is_second = id == retry->told || id == retry->refused;
	retry_free(t, retry);
	return is_second;
}

void *knode_retry_lapse(struct knode_table *t, uint64_t now_ns)
{
	struct retry *retry, *next;

	/* the oldest come first */
	HASH_ITER(hh, t->retries, retry, next) {
		void *kept;

		if (now_ns - retry->begin_ns < KNODE_LAPSE_NS)
			break;
		kept = kept_take(retry);
		retry_unreserve(t, retry);
		if (now_ns - retry->begin_ns >= KNODE_RETRY_NS)
			retry_free(t, retry);
		if (kept)
			return kept;
	}
	return NULL;
}

bool knode_has_retries(const struct knode_table *t)
{
	return t->retries != NULL;
}
