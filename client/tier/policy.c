/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One name for each content that was used or is here, in order of the last use, with the count of
 * its uses; and of each of the three players, whether it would hold it.
 */
#include "client/tier/policy.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define COUNT_MAX	15u	/* of uses: more tell nothing new, and fade too slowly */
#define FADE_USES	8u	/* of each name that LFU holds, between two halvings */
#define SCORE_WINDOW	4u	/* uses of each name held, that a score looks back */
#define WINDOW_MIN	32u
#define LEAD_PART	16u	/* another than LFU leads while it is better by 1/16 */

enum player { PLAYER_LRU = 0, PLAYER_LFU, PLAYER_KEEP, PLAYER_COUNT };

struct policy_name {
	uint8_t key[ROOT_BYTES];
	uint64_t bytes;
	uint32_t count;
	bool is_held[PLAYER_COUNT];
	struct policy_item *item;		/* NULL: it is not here */
	struct policy_name *prev, *next;	/* p->names */
	UT_hash_handle hh;
};

struct policy {
	enum tier_policy kind;
	uint64_t bytes_max;
	struct policy_name *table;
	struct policy_name *names;		/* least recently used first */
	struct policy_item *nameless;		/* here, without a name for want of memory */
	uint32_t ghost_count;
	uint64_t held_bytes[PLAYER_COUNT];
	uint32_t held_count[PLAYER_COUNT];
	uint64_t score[PLAYER_COUNT];		/* bytes served of late */
	enum player leader;
	uint64_t uses_since_fade;
};

int policy_create(enum tier_policy kind, uint64_t bytes_max, struct policy **out)
{
	struct policy *p = calloc(1, sizeof *p);

	if (p == NULL)
		return -E_NOMEM;
	p->kind = kind;
	p->bytes_max = bytes_max;
	p->leader = kind == TIER_LRU ? PLAYER_LRU : PLAYER_LFU;
	*out = p;
	return 0;
}

void policy_destroy(struct policy *p)
{
	struct policy_name *name, *next;

	if (p == NULL)
		return;
	HASH_CLEAR(hh, p->table);
	DL_FOREACH_SAFE(p->names, name, next)
		free(name);
	free(p);
}

/* --- the players ------------------------------------------------------------------------------ */

static void hold(struct policy *p, enum player player, struct policy_name *name, bool is_held)
{
	if (name->is_held[player] == is_held)
		return;
	name->is_held[player] = is_held;
	if (is_held) {
		p->held_bytes[player] += name->bytes;
		p->held_count[player]++;
	} else {
		p->held_bytes[player] -= name->bytes;
		p->held_count[player]--;
	}
}

static bool has_room(const struct policy *p, enum player player, uint64_t bytes)
{
	return p->held_bytes[player] + bytes <= p->bytes_max;
}

static void lru_take(struct policy *p, struct policy_name *name)
{
	struct policy_name *old;

	DL_FOREACH(p->names, old) {
		if (has_room(p, PLAYER_LRU, name->bytes))
			break;
		hold(p, PLAYER_LRU, old, false);
	}
	hold(p, PLAYER_LRU, name, true);
}

/* Of what it holds, the one used least; of several, the one not used for longest. */
static struct policy_name *least_used(const struct policy *p, enum player player)
{
	struct policy_name *name, *least = NULL;

	DL_FOREACH(p->names, name)
		if (name->is_held[player] && (least == NULL || name->count < least->count))
			least = name;
	return least;
}

/* How many bytes does it hold that were used less than this? */
static uint64_t bytes_below(const struct policy *p, enum player player, uint32_t count)
{
	const struct policy_name *name;
	uint64_t bytes = 0;

	DL_FOREACH(p->names, name)
		if (name->is_held[player] && name->count < count)
			bytes += name->bytes;
	return bytes;
}

/* If there is room, or enough that was used less, LFU: not more. */
static void lfu_take(struct policy *p, enum player player, struct policy_name *name)
{
	uint32_t below = name->count + (player == PLAYER_LFU);

	if (!has_room(p, player, name->bytes) &&
	    p->held_bytes[player] + name->bytes > p->bytes_max + bytes_below(p, player, below))
		return;
	while (!has_room(p, player, name->bytes))
		hold(p, player, least_used(p, player), false);
	hold(p, player, name, true);
}

/* Uses of what was never used before do not count: a scan makes nothing fade. */
static void fade(struct policy *p, const struct policy_name *used)
{
	struct policy_name *name;

	if (used->count == 0)
		return;
	if (++p->uses_since_fade < (uint64_t)FADE_USES * MAX_OF(p->held_count[PLAYER_LFU], 8u))
		return;
	p->uses_since_fade = 0;
	DL_FOREACH(p->names, name)
		name->count /= 2;
}

static void score(struct policy *p, const struct policy_name *name)
{
	uint64_t window = MAX_OF(SCORE_WINDOW * p->held_count[PLAYER_LRU], WINDOW_MIN);
	uint64_t best = 0;

	for (enum player i = PLAYER_LRU; i < PLAYER_COUNT; i++) {
		p->score[i] -= DIV_CEIL(p->score[i], window);
		p->score[i] += name->is_held[i] ? name->bytes : 0;
	}
	if (p->kind != TIER_ADAPTIVE)
		return;
	/* In doubt LFU: what is used now says nothing of the scan that may begin any time. */
	best = p->score[PLAYER_LFU] + p->score[PLAYER_LFU] / LEAD_PART;
	p->leader = PLAYER_LFU;
	for (enum player i = PLAYER_LRU; i < PLAYER_COUNT; i++) {
		if (i == PLAYER_LFU || p->score[i] <= best)
			continue;
		best = p->score[i];
		p->leader = i;
	}
}

/* --- names ------------------------------------------------------------------------------------ */

static struct policy_name *name_find(const struct policy *p, const struct root *root)
{
	uint8_t key[ROOT_BYTES];
	struct policy_name *name;

	root_encode(root, key);
	HASH_FIND(hh, p->table, key, sizeof key, name);
	return name;
}

static void name_forget(struct policy *p, struct policy_name *name)
{
	for (enum player i = PLAYER_LRU; i < PLAYER_COUNT; i++)
		hold(p, i, name, false);
	DL_DELETE(p->names, name);
	HASH_DELETE(hh, p->table, name);
	p->ghost_count--;
	free(name);
}

/* Too many names of what is not here: the oldest goes. */
static void ghosts_bound(struct policy *p)
{
	struct policy_name *name, *next;

	DL_FOREACH_SAFE(p->names, name, next) {
		if (p->ghost_count <= POLICY_GHOSTS_MAX)
			return;
		if (name->item == NULL)
			name_forget(p, name);
	}
}

/* NULL: no memory. */
static struct policy_name *name_get(struct policy *p, const struct root *root, uint64_t bytes)
{
	struct policy_name *name = name_find(p, root);

	if (name != NULL)
		return name;
	name = calloc(1, sizeof *name);
	if (name == NULL)
		return NULL;
	root_encode(root, name->key);
	name->bytes = bytes;
	HASH_ADD(hh, p->table, key, sizeof name->key, name);
	DL_APPEND(p->names, name);
	p->ghost_count++;
	return name;
}

/* It is the last one used, and the players take it if they will. */
static void take(struct policy *p, struct policy_name *name)
{
	DL_DELETE(p->names, name);
	DL_APPEND(p->names, name);
	if (name->bytes > p->bytes_max)
		return;
	if (!name->is_held[PLAYER_LRU])
		lru_take(p, name);
	if (!name->is_held[PLAYER_LFU])
		lfu_take(p, PLAYER_LFU, name);
	if (!name->is_held[PLAYER_KEEP])
		lfu_take(p, PLAYER_KEEP, name);
}

void policy_use(struct policy *p, const struct root *root, uint64_t bytes)
{
	struct policy_name *name = name_get(p, root, bytes);

	if (name == NULL || (name->count > 0 && p->names->prev == name))
		return;
	score(p, name);
	fade(p, name);
	name->count += name->count < COUNT_MAX;
	take(p, name);
	ghosts_bound(p);
}

void policy_restore(struct policy *p, const struct root *root, uint64_t bytes, uint64_t uses)
{
	struct policy_name *name = name_get(p, root, bytes);

	if (name == NULL)
		return;
	name->count = (uint32_t)MIN_OF(uses, COUNT_MAX);
	take(p, name);
	ghosts_bound(p);
}

/* --- what is here ----------------------------------------------------------------------------- */

void policy_insert(struct policy *p, struct policy_item *item)
{
	item->name = name_get(p, &item->root, item->bytes);
	if (item->name == NULL) {
		DL_APPEND(p->nameless, item);
		return;
	}
	ASSERT(item->name->item == NULL);
	item->name->item = item;
	p->ghost_count--;
}

void policy_remove(struct policy *p, struct policy_item *item)
{
	if (item->name == NULL) {
		DL_DELETE(p->nameless, item);
		return;
	}
	item->name->item = NULL;
	item->name = NULL;
	p->ghost_count++;
	ghosts_bound(p);
}

/* Would it leave before the other, by what the leader goes by? Names come in order of last use. */
static bool leaves_before(const struct policy *p, const struct policy_name *name,
			  const struct policy_name *other)
{
	if (other == NULL || name->is_held[p->leader] != other->is_held[p->leader])
		return other == NULL || !name->is_held[p->leader];
	return p->leader != PLAYER_LRU && name->count < other->count;
}

/*
 * Would the leader hold the newcomer rather than the victim? Content that is not known yet is taken
 * as if it had just been used for the first time.
 */
static bool is_wanted(const struct policy *p, const struct policy_newcomer *newcomer,
		      const struct policy_name *victim)
{
	if (newcomer->root != NULL)
		return policy_wants(p, newcomer->root);
	return p->leader == PLAYER_LRU || (p->leader == PLAYER_LFU && victim->count <= 1);
}

struct policy_item *policy_victim(struct policy *p, const struct policy_newcomer *newcomer,
				  bool (*may_go)(const struct policy_item *item))
{
	struct policy_name *name, *victim = NULL;
	struct policy_item *item;

	DL_FOREACH(p->nameless, item)
		if (may_go(item))
			return item;
	DL_FOREACH(p->names, name)
		if (name->item != NULL && may_go(name->item) && leaves_before(p, name, victim))
			victim = name;
	if (victim == NULL)
		return NULL;
	/* What the leader would hold does not make way for what it would not. */
	return newcomer->must_enter || !victim->is_held[p->leader] || is_wanted(p, newcomer, victim)
		       ? victim->item
		       : NULL;
}

bool policy_wants(const struct policy *p, const struct root *root)
{
	const struct policy_name *name = name_find(p, root);

	return name != NULL && name->is_held[p->leader];
}

uint32_t policy_uses(const struct policy *p, const struct root *root)
{
	const struct policy_name *name = name_find(p, root);

	return name != NULL ? name->count : 0;
}
