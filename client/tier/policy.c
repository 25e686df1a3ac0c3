/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction: least recently used. */
#include "client/tier/policy.h"

#include <stdlib.h>
#include <utlist.h>

struct policy {
	enum tier_policy kind;
	uint64_t bytes_max;
	struct policy_item *items;	/* least recently used first */
};

int policy_create(enum tier_policy kind, uint64_t bytes_max, struct policy **out)
{
	struct policy *p = calloc(1, sizeof *p);

	if (p == NULL)
		return -E_NOMEM;
	p->kind = kind;
	p->bytes_max = bytes_max;
	*out = p;
	return 0;
}

void policy_destroy(struct policy *p)
{
	free(p);
}

void policy_insert(struct policy *p, struct policy_item *item)
{
	DL_APPEND(p->items, item);
}

void policy_use(struct policy *p, struct policy_item *item)
{
	DL_DELETE(p->items, item);
	DL_APPEND(p->items, item);
}

void policy_remove(struct policy *p, struct policy_item *item, bool was_evicted unused_arg)
{
	DL_DELETE(p->items, item);
}

struct policy_item *policy_victim(struct policy *p, const struct root *newcomer unused_arg,
				  bool (*may_go)(const struct policy_item *item))
{
	struct policy_item *item;

	DL_FOREACH(p->items, item)
		if (may_go(item))
			return item;
	return NULL;
}
