/* SPDX-License-Identifier: Apache-2.0 */
/* Room in quotas; see quota.h. */
#define HASH_NONFATAL_OOM 1	/* an add that failed leaves hh.tbl NULL */
#include "client/core/quota.h"

#include <stdlib.h>
#include <uthash.h>

#include "client/core/file.h"

#define AHEAD_BYTES MiB(64)	/* asked for beyond what is needed now */
#define IDLE_MS	    1000u	/* what is not used so long goes back, */
#define OTHERS_MS   2500u	/* and a writer waits so long for others to do so */

struct cl_quota {
	inode_no ino;			/* of its directory */
	uint64_t granted;		/* by the server, in all */
	uint64_t held;			/* of it, by files */
	uint64_t wanted;		/* as asked for last */
	uint64_t settled;		/* published since: what was held then is not any more */
	uint64_t used_ns;		/* when a file took some */
	int rc;				/* of the last question */
	bool is_asking;
	bool is_over;			/* the server may think that we have more */
	bool is_short;			/* the last answer was less than was asked for */
	bool has_others;		/* others have room that they may give back */
	struct cl_op *waiters;
	UT_hash_handle hh;
};

static struct cl_quota *find(struct client *c, inode_no ino)
{
	struct cl_quota *q;
	HASH_FIND(hh, c->quotas, &ino, sizeof ino, q);
	return q;
}

static struct cl_quota *get(struct client *c, inode_no ino)
{
	struct cl_quota *q = find(c, ino);
	if (q)
		return q;
	q = calloc(1, sizeof *q);
	if (!q)
		return NULL;
	q->ino = ino;
	HASH_ADD(hh, c->quotas, ino, sizeof q->ino, q);
	if (q->hh.tbl)
		return q;
	free(q);
	return NULL;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void reserve_done(struct cl_req *req)
{
	struct cl_quota *q = req->arg;
	const Wire__QuotaReserveReply *reply = (const void *)req->call.reply;
	q->rc = req->call.rc == 0 && !reply ? -E_MALFORMED : req->call.rc;
	q->is_asking = q->is_short = false;
	q->is_over = q->rc < 0;
	if (q->rc == 0 && req->call.session == req->client->session.number) {
		cl_session_stamp(req->client, reply->stamp);
		q->granted = MIN_OF(reply->bytes, q->wanted);
		q->is_short = reply->bytes < q->wanted;
		q->granted -= MIN_OF(q->granted, q->settled);
		q->is_over = q->settled > 0;
		q->has_others = reply->others;
	}
	cl_op_wake(&q->waiters);
}

static int ask(struct client *c, struct cl_quota *q, uint64_t need, uint64_t ahead)
{
	if (q->is_asking)
		return 0;
	struct cl_req *req = cl_session_req(c, NULL, MSG_QUOTA_RESERVE, reserve_done);
	if (!req)
		return -E_NOMEM;
	q->is_asking = true;
	q->is_over = false;
	q->settled = 0;
	q->wanted = q->held + need + ahead;
	q->granted = MIN_OF(q->granted, q->wanted);	/* what goes back is nobody's any more */
	req->arg = q;
	req->msg.quota_reserve.quota = q->ino;
	req->msg.quota_reserve.used = q->held;
	req->msg.quota_reserve.need = need;
	req->msg.quota_reserve.wanted = q->wanted;
	cl_session_send(req);
	return 0;
}

/* It was asked, and it does not fit. 1: wait for others; or the error. */
static int refused(struct cl_op *op, struct cl_quota *q)
{
	struct client *c = op->client;
	uint64_t now_ns = loop_now_ns(c->options.loop);
	op->is_quota_asked = false;
	if (q->rc < 0)
		return q->rc;
	if (op->quota_due_ns == 0)
		op->quota_due_ns = now_ns + OTHERS_MS * UINT64_C(1000000);
	if (!q->has_others || now_ns >= op->quota_due_ns)
		return -E_DQUOT;
	cl_op_wait(op, &c->quota_waiters, "room in the quota", cl_edit_again);
	return 1;
}

int cl_quota_take(struct cl_op *op, uint64_t size, uint64_t more)
{
	struct cl_file *file = op->file;
	struct client *c = file->client;
	inode_no ino = file->node->attr.quota;
	if (file->quota != ino)
		cl_quota_drop(file);
	if (ino == 0)
		return 0;
	uint64_t published = root_data_bytes(&file->root);
	uint64_t data = cl_file_data_bytes(file, size) + more;
	uint64_t want = data > published ? data - published : 0;
	if (want <= file->quota_held)
		return 0;
	struct cl_quota *q = get(c, ino);
	if (!q)
		return -E_NOMEM;
	uint64_t need = want - file->quota_held;
	q->used_ns = loop_now_ns(c->options.loop);
	if (q->held + need > q->granted) {
		/* What was answered may be what the sweep asked, or of a session that is lost. */
		if (op->is_quota_asked && !q->is_asking && (q->rc < 0 || q->is_short))
			return refused(op, q);
		int rc = ask(c, q, need, AHEAD_BYTES);
		if (rc < 0)
			return rc;
		op->is_quota_asked = true;
		cl_op_wait(op, &q->waiters, "room in the quota", cl_edit_again);
		return 1;
	}
	q->held += need;
	file->quota = ino;
	file->quota_held = want;
	op->is_quota_asked = false;
	op->quota_due_ns = 0;
	return 0;
}

/* --- giving back ------------------------------------------------------------------------------ */

static void hold(struct cl_file *file, uint64_t bytes)
{
	struct cl_quota *q = find(file->client, file->quota);
	if (q)
		q->held -= file->quota_held - bytes;
	file->quota_held = bytes;
	if (bytes == 0)
		file->quota = 0;
}

void cl_quota_published(struct cl_file *file, uint64_t data_before)
{
	struct cl_quota *q = file->quota ? find(file->client, file->quota) : NULL;
	if (!q)
		return;
	uint64_t data = root_data_bytes(&file->root), edited = cl_file_data_bytes(file, file->size);
	uint64_t settled = data > data_before ? data - data_before : 0;
	q->granted -= MIN_OF(q->granted, settled);
	if (q->is_asking)
		q->settled += settled;
	hold(file, MIN_OF(file->quota_held, edited > data ? edited - data : 0));
}

void cl_quota_drop(struct cl_file *file)
{
	if (file->quota)
		hold(file, 0);
}

void cl_quota_lost(struct client *c)
{
	struct cl_quota *q, *next;
	HASH_ITER(hh, c->quotas, q, next)
		q->granted = 0;
}

void cl_quota_sweep(struct client *c)
{
	uint64_t now_ns = loop_now_ns(c->options.loop);
	struct cl_quota *q, *next;
	cl_op_wake(&c->quota_waiters);
	HASH_ITER(hh, c->quotas, q, next) {
		if (q->is_asking || q->waiters ||
		    now_ns - q->used_ns < IDLE_MS * UINT64_C(1000000))
			continue;
		if (q->granted > q->held || q->is_over) {
			q->used_ns = now_ns;	/* one that is refused is asked as seldom again */
			(void)!ask(c, q, 0, 0);	/* without memory the next sweep tries again */
		} else if (q->held == 0) {
			HASH_DEL(c->quotas, q);
			free(q);
		}
	}
}

void cl_quota_finish(struct client *c)
{
	struct cl_quota *q, *next;
	HASH_ITER(hh, c->quotas, q, next) {
		HASH_DEL(c->quotas, q);
		free(q);
	}
}
