/* SPDX-License-Identifier: Apache-2.0 */
/* Changes that were acknowledged and may be lost yet: D2 across power failures of the server. */
#include "client/core/changes.h"

#include <stdlib.h>
#include <utlist.h>

#include "client/core/file.h"
#include "fs/base/log.h"

#define LOG_MODULE "changes"

#define CHANGES_MAX	4096u		/* of each list */
#define ALL_LOST_MS	60000u

struct cl_change {
	inode_no ino;
	uint64_t term, number;		/* of the last record that changed it */
	uint64_t loss;			/* the failure that took it; 0: none did */
	bool is_told;
	struct cl_change *prev, *next;	/* one of the lists */
	UT_hash_handle hh;
};

static struct cl_change *find(const struct client *c, inode_no ino)
{
	struct cl_change *change;

	HASH_FIND(hh, c->changes.table, &ino, sizeof ino, change);
	return change;
}

static void unlist(struct cl_changes *s, struct cl_change *change)
{
	if (change->loss) {
		DL_DELETE(s->lost, change);
		s->lost_count--;
	} else {
		DL_DELETE(s->list, change);
		s->count--;
	}
}

static void drop(struct cl_changes *s, struct cl_change *change)
{
	unlist(s, change);
	HASH_DELETE(hh, s->table, change);
	free(change);
}

/* --- noted ------------------------------------------------------------------------------------ */

static void forgotten(struct cl_changes *s, uint64_t term, uint64_t number)
{
	if (term < s->forgotten_term)
		return;
	s->forgotten_number = term > s->forgotten_term ? number
						       : MAX_OF(s->forgotten_number, number);
	s->forgotten_term = term;
}

/* What the request changed, and the stamp of the answer, which may be NULL. */
static const Wire__Stamp *node_changed(const struct cl_req *req, inode_no inodes[3])
{
	const Wire__NodeReply *reply = (const void *)req->call.reply;

	if (reply->attr)
		inodes[0] = reply->attr->ino;
	switch (req->call.type) {
	case MSG_MAKE:
		inodes[1] = req->msg.make.parent;
		break;
	case MSG_LINK:
		inodes[1] = req->msg.link.parent;
		break;
	case MSG_UNLINK:
		inodes[1] = req->msg.unlink.parent;
		break;
	case MSG_RENAME:
		inodes[1] = req->msg.rename.parent;
		inodes[2] = req->msg.rename.new_parent;
		break;
	default:
		break;
	}
	return reply->stamp;
}

/* On no list yet; NULL: out of memory. */
static struct cl_change *add(struct cl_changes *s, inode_no ino)
{
	struct cl_change *change = calloc(1, sizeof *change);

	if (!change)
		return NULL;
	change->ino = ino;
	HASH_ADD(hh, s->table, ino, sizeof change->ino, change);
	if (change->hh.tbl)
		return change;
	free(change);
	return NULL;
}

static void note(struct client *c, inode_no ino, const Wire__Stamp *stamp)
{
	struct cl_changes *s = &c->changes;
	struct cl_change *change = find(c, ino);

	if (change && !change->loss)
		unlist(s, change);
	if (!change)
		change = add(s, ino);
	if (!change) {
		forgotten(s, stamp->term, stamp->number);
		return;
	}
	change->term = stamp->term;
	change->number = stamp->number;
	if (change->loss)
		return;		/* that is still to be told */
	DL_APPEND(s->list, change);
	if (++s->count > CHANGES_MAX) {
		forgotten(s, s->list->term, s->list->number);
		drop(s, s->list);
	}
}

void cl_changes_note(const struct cl_req *req)
{
	struct client *c = req->client;
	inode_no inodes[3] = { 0 };
	const Wire__Stamp *stamp = NULL;

	switch (req->call.type) {
	case MSG_PUBLISH:
		inodes[0] = req->msg.publish.ino;
		stamp = ((const Wire__PublishReply *)req->call.reply)->stamp;
		break;
	case MSG_CLONE:
		inodes[0] = req->msg.clone.parent;
		stamp = ((const Wire__CloneReply *)req->call.reply)->stamp;
		break;
	case MSG_TRASH:
		inodes[0] = req->msg.trash.ino;
		inodes[1] = req->msg.trash.parent;
		stamp = ((const Wire__TrashReply *)req->call.reply)->stamp;
		break;
	case MSG_SETATTR:
	case MSG_MAKE:
	case MSG_LINK:
	case MSG_UNLINK:
	case MSG_RENAME:
	case MSG_SETXATTR:
	case MSG_REMOVEXATTR:
		stamp = node_changed(req, inodes);
		break;
	default:
		return;
	}
	if (!stamp)
		return;
	for (size_t i = 0; i < ARRAY_COUNT(inodes); i++)
		if (inodes[i])
			note(c, inodes[i], stamp);
}

/* --- durable, or lost ------------------------------------------------------------------------- */

void cl_changes_durable(struct client *c, uint64_t term, uint64_t number)
{
	struct cl_changes *s = &c->changes;

	while (s->list && s->list->term == term && s->list->number <= number)
		drop(s, s->list);
}

/* Of a term that came and went unseen nothing is known. */
static bool is_lost(uint64_t its_term, uint64_t number, const struct cl_term_end *end)
{
	return its_term == end->term ? end->lost_from && number >= end->lost_from
				     : its_term > end->term && its_term < end->next;
}

static void take_loss(struct cl_changes *s, struct cl_change *change)
{
	unlist(s, change);
	change->loss = s->losses;
	change->is_told = false;
	DL_APPEND(s->lost, change);
	s->lost_count++;
}

/* Behind the walk over the table, which may come to any of them. Was one that nobody heard of? */
static bool trim_lost(struct cl_changes *s)
{
	bool is_untold = false;

	while (s->lost_count > CHANGES_MAX) {
		is_untold |= !s->lost->is_told;
		drop(s, s->lost);
	}
	return is_untold;
}

void cl_changes_term(struct client *c, const struct cl_term_end *end)
{
	struct cl_changes *s = &c->changes;
	struct cl_change *change, *next;
	bool is_unknown = s->forgotten_number &&
			  is_lost(s->forgotten_term, s->forgotten_number, end);

	s->losses++;
	HASH_ITER(hh, s->table, change, next) {
		if (is_lost(change->term, change->number, end))
			take_loss(s, change);
		else if (!change->loss && change->term < end->next)
			drop(s, change);
	}
	is_unknown |= trim_lost(s);
	if (is_unknown) {
		log_error("too many changes were lost to know which: for %u s every fsync fails",
			  ALL_LOST_MS / 1000);
		s->all_lost_until_ns =
			loop_now_ns(c->options.loop) + ALL_LOST_MS * UINT64_C(1000000);
	}
	s->forgotten_term = s->forgotten_number = 0;
}

/* --- told ------------------------------------------------------------------------------------- */

uint64_t cl_changes_seen(const struct client *c, inode_no ino)
{
	const struct cl_change *change = find(c, ino);

	return change && change->loss && !change->is_told ? change->loss - 1 : c->changes.losses;
}

void cl_changes_told(const struct client *c, struct cl_handle *h, uint64_t term)
{
	if (h && term == c->session.term)
		h->loss_seen = c->changes.losses + 1;
}

static int any_error(struct cl_changes *s)
{
	struct cl_change *change;
	int rc = 0;

	DL_FOREACH(s->lost, change) {
		if (!change->is_told)
			rc = -E_OTHER_TERM;
		change->is_told = true;
	}
	return rc;
}

int cl_changes_error(struct client *c, inode_no ino, struct cl_handle *h)
{
	struct cl_changes *s = &c->changes;
	struct cl_change *change = find(c, ino);

	if (s->all_lost_until_ns > loop_now_ns(c->options.loop))
		return -E_OTHER_TERM;
	if (ino == 0)
		return any_error(s);
	if (!change || !change->loss || (h ? h->loss_seen >= change->loss : change->is_told))
		return 0;
	change->is_told = true;
	if (h)
		h->loss_seen = change->loss;
	return -E_OTHER_TERM;
}

void cl_changes_finish(struct client *c)
{
	while (c->changes.list)
		drop(&c->changes, c->changes.list);
	while (c->changes.lost)
		drop(&c->changes, c->changes.lost);
}
