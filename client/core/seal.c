/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which file is sealed next, and what became of it. One table by inode: what waits, the one that
 * runs, and what was done of late, for who asked; the oldest that was done makes room.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <utlist.h>

#include "client/core/seal_internal.h"
#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "seal"

#define TRIES_MAX  5u
#define AGAIN_MS   200u			/* before another try for who waits for it */
#define NS_PER_MS  UINT64_C(1000000)

struct seal {
	inode_no ino;
	struct cl_seal_info info;
	uint64_t due_ns;
	uint32_t tries;
	bool is_asked;
	bool is_again;			/* it runs, and is to be looked at once more after that */
	UT_hash_handle hh;
	struct seal *prev, *next;	/* in order of asking */
};

struct cl_seals {
	struct client *client;
	struct seal *by_ino, *list;
	uint32_t count;
	struct seal *current;		/* its attributes are asked for, or it runs */
	struct seal_run *run;
	struct cl_req *req;
	struct loop_timer turn;
	uint64_t turn_ns;
	bool is_stopped;
};

static void pump_at(struct cl_seals *seals, uint64_t due_ns)
{
	struct client *c = seals->client;
	uint64_t now_ns = loop_now_ns(c->options.loop);

	if (seals->is_stopped || (seals->turn.is_active && seals->turn_ns <= due_ns))
		return;
	seals->turn_ns = due_ns;
	loop_timer_start(c->options.loop, &seals->turn,
			 due_ns > now_ns ? DIV_CEIL(due_ns - now_ns, NS_PER_MS) : 0);
}

/* --- the table -------------------------------------------------------------------------------- */

static struct seal *seal_find(const struct cl_seals *seals, inode_no ino)
{
	struct seal *seal = NULL;

	if (seals)
		HASH_FIND(hh, seals->by_ino, &ino, sizeof ino, seal);
	return seal;
}

static void seal_free(struct cl_seals *seals, struct seal *seal)
{
	HASH_DEL(seals->by_ino, seal);
	DL_DELETE(seals->list, seal);
	seals->count--;
	free(seal);
}

static bool make_room(struct cl_seals *seals)
{
	struct seal *seal;

	if (seals->count < SEALS_MAX)
		return true;
	DL_FOREACH(seals->list, seal)
		if (seal->info.state >= CL_SEAL_DONE) {
			seal_free(seals, seal);
			return true;
		}
	return false;
}

static int seal_get(struct cl_seals *seals, inode_no ino, struct seal **out)
{
	struct seal *seal = seal_find(seals, ino);

	if (!seal && !make_room(seals))
		return -E_OVERLOADED;
	if (!seal) {
		seal = calloc(1, sizeof *seal);
		if (!seal)
			return -E_NOMEM;
		seal->ino = ino;
		HASH_ADD(hh, seals->by_ino, ino, sizeof seal->ino, seal);
		if (!seal->hh.tbl) {
			free(seal);
			return -E_NOMEM;
		}
		DL_APPEND(seals->list, seal);
		seals->count++;
	}
	*out = seal;
	return 0;
}

/* --- what becomes of one ---------------------------------------------------------------------- */

static void seal_wait(struct cl_seals *seals, struct seal *seal, uint64_t ms)
{
	seal->info = (struct cl_seal_info){ .state = CL_SEAL_WAITING };
	seal->due_ns = loop_now_ns(seals->client->options.loop) + ms * NS_PER_MS;
	pump_at(seals, seal->due_ns);
}

/* Is it worth another try? Whoever writes it notes it anew when it is published. */
static bool is_passing(const struct seal *seal, int rc)
{
	bool is_changing = rc == -E_BUSY || rc == -E_STALE_VERSION;

	return rc == -E_STALE_GENERATION || rc == -E_OLD_COLLECTION || rc == -E_AGAIN ||
	       (is_changing && (!seal->is_asked || rc == -E_STALE_VERSION)) ||
	       cl_is_unavailable(rc);
}

static void seal_end(struct cl_seals *seals, int rc)
{
	struct seal *seal = seals->current;
	struct client *c = seals->client;

	seals->current = NULL;
	if (seal->is_again || (is_passing(seal, rc) && ++seal->tries < TRIES_MAX)) {
		seal->is_again = false;
		seal_wait(seals, seal, seal->is_asked ? AGAIN_MS : MAX_OF(c->options.seal_ms, 1u));
	} else {
		seal->info.state = rc < 0 ? CL_SEAL_FAILED : CL_SEAL_DONE;
		seal->info.rc = rc;
		seal->is_asked = false;
		seal->tries = 0;
		if (rc < 0 && rc != -E_CANCELED)
			log_info("inode %llu is not cut by content: %s",
				 (unsigned long long)seal->ino, error_text(rc));
	}
	pump_at(seals, 0);
}

void cl_seal_ended(struct seal_run *run, int rc)
{
	struct cl_seals *seals = run->client->seals;

	seals->current->info = run->info;
	if (rc == 0) {
		METRIC_INC(files_sealed);
		METRIC_ADD(seal_new_bytes, run->info.new_bytes - run->info.shared_bytes);
		METRIC_ADD(seal_shared_bytes, run->info.shared_bytes);
	}
	if (rc == -E_BUSY || rc == -E_STALE_VERSION)
		METRIC_INC(seals_lost);
	seals->run = NULL;
	cl_seal_run_drop(run);
	seal_end(seals, rc);
}

/* --- the begin -------------------------------------------------------------------------------- */

/* 1: it runs; 0: there is nothing to do; or an error. */
static int seal_begin(struct cl_seals *seals, const struct cl_node *node)
{
	const struct root *root = &node->attr.root;
	int rc;

	if (node->attr.st.st_nlink == 0)
		return -E_CANCELED;
	if (!S_ISREG(node->attr.st.st_mode))
		return -E_INVAL;
	if (root->kind != ROOT_NODE || root->cutter == CUT_VERSION)
		return 0;
	rc = cl_seal_run_start(seals->client, node, seals->current->is_asked, &seals->run);
	return rc < 0 ? rc : 1;
}

static void seal_begin_or_end(struct cl_seals *seals, int rc)
{
	struct cl_node *node = cl_node_find(seals->client, seals->current->ino);

	if (rc == 0 && !node)
		rc = -E_CANCELED;
	if (rc == 0)
		rc = seal_begin(seals, node);
	if (rc <= 0)
		seal_end(seals, rc);
}

static void attr_done(struct cl_req *req)
{
	struct cl_seals *seals = req->arg;

	if (!seals)
		return;		/* stopped meanwhile */
	seals->req = NULL;
	seal_begin_or_end(seals, cl_node_take_reply(req, NULL));
}

static void seal_start(struct cl_seals *seals, struct seal *seal)
{
	struct client *c = seals->client;

	seals->current = seal;
	seal->info.state = CL_SEAL_RUNNING;
	if (cl_node_is_fresh(c, cl_node_find(c, seal->ino))) {
		seal_begin_or_end(seals, 0);
		return;
	}
	seals->req = cl_session_req(c, NULL, MSG_GETATTR, attr_done);
	if (!seals->req) {
		seal_end(seals, -E_NOMEM);
		return;
	}
	seals->req->arg = seals;
	seals->req->msg.get_attr.ino = seal->ino;
	seals->req->msg.get_attr.lease = true;
	cl_session_send(seals->req);
}

/* Those that somebody waits for first; then what is due. */
static void pump(struct loop_timer *timer)
{
	struct cl_seals *seals = container_of(timer, struct cl_seals, turn);
	struct client *c = seals->client;
	uint64_t now_ns = loop_now_ns(c->options.loop), next_ns = UINT64_MAX;
	struct seal *seal, *first = NULL;

	if (seals->current || c->life != CL_RUNNING || !cl_session_is_valid(c)) {
		if (!seals->current && seals->count > 0)
			pump_at(seals, now_ns + 1000 * NS_PER_MS);
		return;
	}
	DL_FOREACH(seals->list, seal) {
		if (seal->info.state != CL_SEAL_WAITING)
			continue;
		next_ns = MIN_OF(next_ns, seal->due_ns);
		if (seal->due_ns <= now_ns && (!first || (seal->is_asked && !first->is_asked)))
			first = seal;
	}
	if (first)
		seal_start(seals, first);
	else if (next_ns < UINT64_MAX)
		pump_at(seals, next_ns);
}

/* --- the contract ----------------------------------------------------------------------------- */

void cl_seal_note(struct client *c, const struct cl_node *node)
{
	const struct root *root = &node->attr.root;
	struct cl_seals *seals = c->seals;
	struct seal *seal;

	if (c->options.seal_ms == 0 || root->kind != ROOT_NODE || root->cutter == CUT_VERSION ||
	    root->length < c->options.seal_min_bytes || !seals || seals->is_stopped)
		return;
	if (seal_get(seals, node->ino, &seal) < 0)
		return;			/* `cairn seal` finds it */
	if (seal->info.state == CL_SEAL_RUNNING)
		seal->is_again = true;
	else if (!seal->is_asked)
		seal_wait(seals, seal, c->options.seal_ms);
}

int cl_seal_ask(struct client *c, inode_no ino)
{
	struct seal *seal;
	int rc = c->seals && !c->seals->is_stopped ? seal_get(c->seals, ino, &seal) : -E_SHUTDOWN;

	if (rc < 0)
		return rc;
	seal->is_asked = true;
	seal->tries = 0;
	if (seal->info.state != CL_SEAL_RUNNING)
		seal_wait(c->seals, seal, 0);
	return 0;
}

void cl_seal_info(const struct client *c, inode_no ino, struct cl_seal_info *out)
{
	const struct seal *seal = seal_find(c->seals, ino);

	*out = seal ? seal->info : (struct cl_seal_info){ .state = CL_SEAL_NONE };
	if (seal && seal == c->seals->current && c->seals->run)
		*out = c->seals->run->info;
}

uint64_t cl_seal_oldest(const struct client *c)
{
	const struct seal_run *run = c->seals ? c->seals->run : NULL;

	return run ? MIN_OF(run->collection, run->marks.collection) : UINT64_MAX;
}

int cl_seals_create(struct client *c)
{
	c->seals = calloc(1, sizeof *c->seals);
	if (!c->seals)
		return -E_NOMEM;
	c->seals->client = c;
	c->seals->turn.fn = pump;
	return 0;
}

void cl_seals_stop(struct client *c)
{
	struct cl_seals *seals = c->seals;

	if (!seals || seals->is_stopped)
		return;
	seals->is_stopped = true;
	loop_timer_stop(c->options.loop, &seals->turn);
	if (seals->req)
		cl_session_forget(seals->req);
	seals->req = NULL;
	if (seals->run)
		cl_seal_run_drop(seals->run);
	seals->run = NULL;
	seals->current = NULL;
}

void cl_seals_destroy(struct client *c)
{
	struct cl_seals *seals = c->seals;

	if (!seals)
		return;
	cl_seals_stop(c);
	while (seals->list)
		seal_free(seals, seals->list);
	free(seals);
	c->seals = NULL;
}
