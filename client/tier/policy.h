/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaves a full cache tier.
 *
 * Pure: no clock, no I/O; the owner of the items says when one comes, is used, goes. One thread.
 */
#ifndef CAIRN_CLIENT_TIER_POLICY_H
#define CAIRN_CLIENT_TIER_POLICY_H

#include "client/tier/tier.h"

struct policy;

/* Content in the tier. The owner's memory; zero it, set root, key and bytes. */
struct policy_item {
	struct root root;
	uint8_t key[ROOT_BYTES];		/* the root, encoded: it has no padding */
	uint64_t bytes;
	struct policy_item *prev, *next;	/* private */
};

must_check int policy_create(enum tier_policy kind, uint64_t bytes_max, struct policy **out);
void policy_destroy(struct policy *p);

void policy_insert(struct policy *p, struct policy_item *item);
void policy_use(struct policy *p, struct policy_item *item);
/* It goes; `was_evicted`: by this policy's choice, so its coming back teaches something. */
void policy_remove(struct policy *p, struct policy_item *item, bool was_evicted);

/*
 * Who shall leave, so that there is room for `newcomer` (NULL: so that there is room at all)? Only
 * an item of which may_go() says so. NULL: none of them; it is the newcomer that stays outside.
 */
struct policy_item *policy_victim(struct policy *p, const struct root *newcomer,
				  bool (*may_go)(const struct policy_item *item));

#endif
