/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LOCK_LIST: who holds what and who waits, for the operator of something that hangs.
 */
#include "metadata-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>

#include "metadata-server/lock.h"

#define LIST_MAX	512u		/* more are not told */
#define NODES_BYTES	KiB(20)		/* of the names, in all */
#define INFO_BYTES_MAX	72u		/* of one on the wire, without its name */
_Static_assert(LIST_MAX *INFO_BYTES_MAX + NODES_BYTES <= MESSAGE_BYTES_MAX - 256u,
	       "the list fits a message");

struct list {
	Wire__LockListReply message;
	Wire__LockInfo infos[LIST_MAX], *info_list[LIST_MAX];
	Wire__LockClaim claims[LIST_MAX];
	char nodes[NODES_BYTES];
	size_t nodes_len;
};

/* The one before is often of the same node. */
static char *keep_node(struct list *l, const char *node)
{
	size_t count = l->message.n_locks, bytes = strlen(node) + 1;
	char *at = l->nodes + l->nodes_len;

	if (count > 0 && strcmp(l->infos[count - 1].node, node) == 0)
		return l->infos[count - 1].node;
	if (l->nodes_len + bytes > sizeof(l->nodes))
		return NULL;
	l->nodes_len += bytes;
	return memcpy(at, node, bytes);
}

static void list_add(void *arg, const struct ms_lock_info *info, const char *node)
{
	struct list *l = arg;
	size_t at = l->message.n_locks;
	char *kept = at < LIST_MAX ? keep_node(l, node) : NULL;

	if (!kept) {
		l->message.more = true;
		return;
	}
	wire__lock_info__init(&l->infos[at]);
	wire__lock_claim__init(&l->claims[at]);
	l->claims[at].ino = info->ino;
	l->claims[at].kind = (uint32_t)info->key.kind;
	l->claims[at].owner = info->key.owner;
	l->claims[at].pid = info->pid;
	l->claims[at].start = info->start;
	l->claims[at].end = info->end;
	l->claims[at].mode = info->mode;
	l->infos[at].lock = &l->claims[at];
	l->infos[at].node = kept;
	l->infos[at].session = info->key.session;
	l->infos[at].waiting = info->is_waiting;
	l->info_list[at] = &l->infos[at];
	l->message.n_locks++;
}

void ms_serve_reply_locks(struct ms_server *s, struct ms_pending *p, const Wire__LockList *ask)
{
	struct list *l = calloc(1, sizeof(*l));
	struct ms_counts counts;

	if (!l) {
		p->rc = -E_NOMEM;
		return;
	}
	p->storage = l;
	p->message = &l->message.base;
	wire__lock_list_reply__init(&l->message);
	l->message.locks = l->info_list;
	ms_state_counts(s->state, &counts);
	l->message.held = counts.locks;
	l->message.waiting = counts.lock_waits;
	ms_state_locks(s->state, ask->ino, LIST_MAX + 1, list_add, l);
}
