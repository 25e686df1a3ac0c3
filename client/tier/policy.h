/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaves a full cache tier, and what does not enter it.
 *
 *   TIER_LRU       the least recently used leaves.
 *   TIER_LFU       the least often used leaves, of several the one not used for longest; what comes
 *                  stays outside if all that is here was used more often. Uses of what is not here
 *                  are counted, too, and all counts are halved now and then, so that the past
 *                  fades: TinyLFU (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache
 *                  Admission Policy", ACM Transactions on Storage 13(4), 2017), with exact counts,
 *                  for here are few files. So a scan does not push out what is used.
 *   TIER_ADAPTIVE  these two, and one that is as LFU but keeps what it has against equals (for
 *                  loops through more than fits), are played with names alone, as if each had the
 *                  tier for itself; the real tier follows the one that would have served most bytes
 *                  of late, in doubt LFU (Gramacy, Warmuth, Brandt, Ari: "Adaptive Caching by
 *                  Refetching", NIPS 2002; without the refetching).
 *
 * All by bytes: files differ a thousandfold. A use of what was used last is the same use: opens of
 * one file by many processes of one start count once.
 *
 * Pure and deterministic: no clock, no chance, no I/O. Searches walk all names: evictions are rare
 * beside the megabytes that each of them frees. One thread. Bounded: POLICY_GHOSTS_MAX names of
 * what is not here.
 */
#ifndef CAIRN_CLIENT_TIER_POLICY_H
#define CAIRN_CLIENT_TIER_POLICY_H

#include "client/tier/tier.h"

#define POLICY_GHOSTS_MAX 4096u

struct policy;
struct policy_name;

/* Content in the tier. The owner's memory; zero it, set root, key and bytes. */
struct policy_item {
	struct root root;
	uint8_t key[ROOT_BYTES];	/* the root, encoded: it has no padding */
	uint64_t bytes;
	struct policy_name *name;	/* private; NULL also without memory: the first to leave */
	struct policy_item *prev, *next;	/* private */
};

must_check int policy_create(enum tier_policy kind, uint64_t bytes_max, struct policy **out);
void policy_destroy(struct policy *p);		/* items may still be in it */

/* Content was asked for, whether it is here or not. */
void policy_use(struct policy *p, const struct root *root, uint64_t bytes);
/* It was used so often before this process began; in order of the last uses. */
void policy_restore(struct policy *p, const struct root *root, uint64_t bytes, uint64_t uses);
void policy_insert(struct policy *p, struct policy_item *item);
void policy_remove(struct policy *p, struct policy_item *item);

/* Who wants room. */
struct policy_newcomer {
	const struct root *root;	/* NULL: not known */
	bool must_enter;
};
/*
 * Who shall leave? Only an item of which may_go() says so. NULL: none of them; it is the newcomer
 * that stays outside.
 */
struct policy_item *policy_victim(struct policy *p, const struct policy_newcomer *newcomer,
				  bool (*may_go)(const struct policy_item *item));
/* Would the policy hold it, if all were as it wants? */
bool policy_wants(const struct policy *p, const struct root *root);
/* How often it was used of late; 0: not known. */
uint32_t policy_uses(const struct policy *p, const struct root *root);

#endif
