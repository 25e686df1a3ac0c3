/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client: its life (create, start, stop), the table of operations, and how operations wait and
 * end. Each operation ends exactly once: by its work, its deadline, or its interrupt.
 */
#include "client/core/cache_policy.h"
#include "client/core/draft.h"
#include "client/core/atime.h"
#include "client/core/file.h"
#include "client/core/fill.h"
#include "client/core/guess.h"
#include "client/core/locks.h"
#include "client/core/pins.h"
#include "client/core/quota.h"
#include "client/core/seal.h"
#include "client/core/siblings.h"
#include "client/core/xattr_cache.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/text.h"
#include "fs/disk/super.h"

#define LOG_MODULE "client"

/* a mount of what is not there fails soon; one that recovers may take its time */
#define REACH_MS 10000u

/* --- operations ------------------------------------------------------------------------------- */

static const struct {
	void (*start)(struct cl_op *op);
	bool needs_session;
} op_table[] = {
	[CL_LOOKUP] = { cl_names_lookup, true },
	[CL_GETATTR] = { cl_names_getattr, true },
	[CL_SETATTR] = { cl_names_setattr, true },
	[CL_MAKE] = { cl_names_make, true },
	[CL_LINK] = { cl_names_link, true },
	[CL_UNLINK] = { cl_names_unlink, true },
	[CL_RENAME] = { cl_names_rename, true },
	[CL_READLINK] = { cl_names_readlink, true },
	[CL_OPENDIR] = { cl_listing_open, false },
	[CL_READDIR] = { cl_listing_read, true },
	[CL_RELEASEDIR] = { cl_listing_close, false },
	[CL_OPEN] = { cl_file_open, true },
	[CL_READ] = { cl_read_start, true },
	[CL_WRITE] = { cl_edit_start, true },
	[CL_FLUSH] = { cl_publish_flush, false },
	[CL_FSYNC] = { cl_publish_fsync, false },
	[CL_RELEASE] = { cl_file_release, false },
	[CL_FALLOCATE] = { cl_edit_start, true },
	[CL_LSEEK] = { cl_read_lseek, true },
	[CL_COPY_RANGE] = { cl_edit_start, true },
	[CL_GETXATTR] = { cl_xattr_get, true },
	[CL_SETXATTR] = { cl_xattr_set, true },
	[CL_LISTXATTR] = { cl_xattr_list, true },
	[CL_REMOVEXATTR] = { cl_xattr_remove, true },
	[CL_STATFS] = { cl_xattr_statfs, true },
	[CL_SYNCFS] = { cl_publish_syncfs, true },
	[CL_FORGET] = { cl_names_forget, false },
	[CL_MAP] = { cl_read_map, true },
	[CL_CONTROL] = { cl_control_start, false },
	[CL_SETLK] = { cl_locks_set, true },
	[CL_GETLK] = { cl_locks_get, true },
};

void cl_op_finish(struct cl_op *op, int rc)
{
	ASSERT(!op->is_finished);
	ASSERT(!op->wait_list && !op->req);
	op->is_finished = true;
	op->cancel = NULL;
	op->rc = rc;
	DL_DELETE(op->client->ops, op);
	op->done(op);
}

static void wait_cancel(struct cl_op *op)
{
	DL_DELETE2(*op->wait_list, op, wait_prev, wait_next);
	op->wait_list = NULL;
}

void cl_op_wait(struct cl_op *op, struct cl_op **list, const char *why,
		void (*resume)(struct cl_op *op))
{
	ASSERT(!op->wait_list);
	DL_APPEND2(*list, op, wait_prev, wait_next);
	op->wait_list = list;
	op->waiting_for = why;
	op->resume = resume;
	op->cancel = wait_cancel;
}

void cl_op_wake(struct cl_op **list)
{
	struct cl_op *woken = *list;
	*list = NULL;
	/*
	 * A resumed operation may end others of the list, so each names the local head meanwhile.
	 */
	struct cl_op *op;
	DL_FOREACH2(woken, op, wait_next)
		op->wait_list = &woken;
	while ((op = woken) != NULL) {
		wait_cancel(op);
		op->cancel = NULL;
		op->waiting_for = NULL;
		op->resume(op);
	}
}

uint32_t cl_op_left_ms(const struct cl_op *op)
{
	uint64_t now_ns = loop_now_ns(op->client->options.loop);
	if (op->due_ns <= now_ns + 1000000)
		return 1;
	return (uint32_t)MIN_OF((op->due_ns - now_ns) / 1000000, UINT32_MAX);
}

void cl_op_dispatch(struct cl_op *op)
{
	struct client *c = op->client;
	if (op->kind < 1 || op->kind >= ARRAY_COUNT(op_table) || !op_table[op->kind].start) {
		cl_op_finish(op, -E_NOSYS);
		return;
	}
	if (c->life != CL_RUNNING &&
	    !(c->life == CL_STOPPING && !op_table[op->kind].needs_session)) {
		cl_op_finish(op, -E_SHUTDOWN);
		return;
	}
	if (op_table[op->kind].needs_session && !cl_session_is_valid(c)) {
		cl_op_wait(op, &c->session_waiters, "the metadata server", cl_op_dispatch);
		cl_session_renew(c);
		return;
	}
	op_table[op->kind].start(op);
}

static bool is_to_end(struct cl_op *op)
{
	if (!__atomic_load_n(&op->is_interrupted, __ATOMIC_ACQUIRE))
		return false;
	uint64_t now_ns = loop_now_ns(op->client->options.loop);
	enum cl_signal signal = op->signal ? op->signal(op) : CL_SIGNAL_FATAL;
	if (op->interrupted_ns == 0)
		op->interrupted_ns = now_ns;
	return signal == CL_SIGNAL_FATAL ||
	       (signal == CL_SIGNAL_CAUGHT && op->is_unbounded) ||
	       (signal == CL_SIGNAL_CAUGHT &&
		now_ns - op->interrupted_ns >= CL_INTERRUPT_MS * UINT64_C(1000000));
}

void client_run(struct client *c, struct cl_op *op)
{
	uint64_t ms = op->deadline_ms ? op->deadline_ms : c->options.timeout_ms;
	uint64_t now_ns = loop_now_ns(c->options.loop);
	op->client = c;
	op->is_finished = op->is_again = false;
	op->due_ns = now_ns + ms * UINT64_C(1000000);
	op->look_ns = now_ns + CL_ABANDONED_MS * UINT64_C(1000000);
	op->looked_puts = c->stats.blocks_put;
	DL_APPEND(c->ops, op);
	if (is_to_end(op))
		cl_op_finish(op, -E_INTR);
	else
		cl_op_dispatch(op);
}

static void op_submitted(struct loop_task *task)
{
	struct cl_op *op = container_of(task, struct cl_op, task);
	client_run(op->client, op);
}

void client_submit(struct client *c, struct cl_op *op)
{
	op->client = c;
	op->is_finished = op->is_again = false;
	op->task.run = op_submitted;
	loop_post(c->options.loop, &op->task);
}

/*
 * End it where it stands. What it started at servers may still happen; the caller is told so by the
 * code.
 */
static void op_abort(struct cl_op *op, int rc)
{
	if (!op->cancel)
		return;		/* it is between two waits: the next look finds it */
	void (*cancel)(struct cl_op *) = op->cancel;
	op->cancel = NULL;
	cancel(op);
	cl_op_finish(op, rc);
}

static void ops_interrupted(struct client *c)
{
	struct cl_op *op, *next;
	DL_FOREACH_SAFE(c->ops, op, next)
		if (op->cancel && is_to_end(op)) {
			op_abort(op, -E_INTR);
			next = c->ops;		/* ending one may have ended others */
		}
}

static void interrupt_came(struct loop_task *task)
{
	struct client *c = container_of(task, struct client, interrupt_task);
	__atomic_store_n(&c->interrupt_posted, 0, __ATOMIC_RELEASE);
	ops_interrupted(c);
}

void client_interrupt(struct client *c, struct cl_op *op)
{
	__atomic_store_n(&op->is_interrupted, true, __ATOMIC_RELEASE);
	if (!__atomic_exchange_n(&c->interrupt_posted, 1, __ATOMIC_ACQ_REL))
		loop_post(c->options.loop, &c->interrupt_task);
}

/* A process that ends closes its files where no signal reaches it: it shall not be kept there. */
static bool is_left(struct cl_op *op, uint64_t now_ns)
{
	const struct client *c = op->client;
	uint64_t puts = c->stats.blocks_put;
	bool has_moved = puts != op->looked_puts;
	if (!op->is_abandoned || now_ns < op->look_ns)
		return false;
	op->look_ns = now_ns + CL_ABANDONED_MS * UINT64_C(1000000);
	op->looked_puts = puts;
	return !has_moved && op->is_abandoned(op);
}

/* At its deadline: does it go on? */
static bool is_renewed(const struct cl_op *op)
{
	const struct client *c = op->client;
	return c->options.is_hard && c->life == CL_RUNNING &&
	       !(op->is_abandoned && op->is_abandoned(op));
}

static void ops_past_deadline(struct client *c, uint64_t now_ns)
{
	struct cl_op *op, *next;
	DL_FOREACH_SAFE(c->ops, op, next) {
		if (op->is_unbounded && cl_session_is_valid(c))	/* what is left when that ends */
			op->due_ns = now_ns + c->options.timeout_ms * UINT64_C(1000000);
		bool is_due = op->due_ns <= now_ns;
		if (!op->cancel || (!is_due && !is_left(op, now_ns)))
			continue;
		if (is_due && is_renewed(op)) {
			op->due_ns = now_ns + c->options.timeout_ms * UINT64_C(1000000);
			continue;
		}
		log_warn("operation %d on inode %llu gave up after %s, waiting for %s",
			 (int)op->kind, (unsigned long long)op->ino,
			 is_due ? "its deadline" : "its process ended",
			 op->waiting_for ? op->waiting_for : "nothing");
		op_abort(op, -E_TIMEDOUT);
		next = c->ops;
	}
}

/* --- life ------------------------------------------------------------------------------------- */

/* The session is closed: told from a turn of its own, for the client may be destroyed then. */
static void stop_finished(struct client *c)
{
	if (c->life != CL_STOPPING)
		return;
	c->life = CL_STOPPED;
	loop_timer_start(c->options.loop, &c->sweep, 0);
}

static void stop_told(struct client *c)
{
	void (*stopped)(void *arg, int rc) = c->stopped;
	c->stopped = NULL;
	cl_session_finish(c);
	if (stopped)
		stopped(c->life_arg, 0);
}

static void stop_when_clean(struct client *c, uint64_t now_ns)
{
	bool dirty = false;
	struct cl_file *file;
	DL_FOREACH(c->files, file)
		dirty |= cl_file_is_dirty(file);
	dirty |= cl_pins_is_busy(c->pins) || cl_guess_is_busy(c->guess);
	if ((dirty || c->ops) && now_ns < c->life_due_ns)
		return;
	while (c->ops && c->ops->cancel)
		op_abort(c->ops, -E_SHUTDOWN);
	cl_session_close(c, stop_finished);
}

/* Likewise from a turn of its own. */
static void start_ended(struct client *c, int rc, const char *why)
{
	if (c->life != CL_STARTING)
		return;
	c->life = CL_STARTED;
	c->start_rc = rc;
	c->start_why = why;
	loop_timer_start(c->options.loop, &c->sweep, 0);
}

static void start_told(struct client *c)
{
	c->life = c->start_rc < 0 ? CL_STOPPED : CL_RUNNING;
	if (c->life == CL_RUNNING && c->pins)
		cl_pins_start(c->pins);
	if (c->life == CL_RUNNING && c->guess)
		cl_guess_start(c->guess);
	if (c->start_rc < 0) {
		loop_timer_stop(c->options.loop, &c->sweep);
		cl_session_finish(c);
	}
	if (c->started)
		c->started(c->life_arg, c->start_rc, c->start_why);
}

static const char *start_problem(struct client *c)
{
	if (!rpc_peer_is_connected(c->mds))
		return "cannot reach the metadata server";
	return "metadata server does not answer";
}

static void sweep_fired(struct loop_timer *timer)
{
	struct client *c = container_of(timer, struct client, sweep);
	uint64_t now_ns = loop_now_ns(c->options.loop);
	if (c->life == CL_STOPPED) {
		stop_told(c);
		return;
	}
	loop_timer_start(c->options.loop, timer, CL_SWEEP_MS);
	if (c->life == CL_STARTED) {
		start_told(c);
		return;
	}
	if (c->life == CL_STARTING) {
		if (c->session.number && cl_session_is_valid(c))
			start_ended(c, 0, "");
		else if (now_ns >= (c->blocks ? c->life_due_ns : c->reach_due_ns))
			start_ended(c, -E_TIMEDOUT, start_problem(c));
		return;
	}
	ops_interrupted(c);
	ops_past_deadline(c, now_ns);
	cl_atime_sweep(c);
	cl_publish_sweep(c);
	cl_opens_sweep(c);
	cl_lease_sweep(c);
	cl_locks_sweep(c);
	cl_quota_sweep(c);
	cl_op_wake(&c->memory_waiters);
	cl_chunk_pump(c);
	if (c->life == CL_STOPPING)
		stop_when_clean(c, now_ns);
}

static void mds_up(void *arg)
{
	struct client *c = arg;
	const Wire__HelloReply *hello = rpc_peer_hello(c->mds);
	if (!c->blocks && hello) {
		c->hash = hello->hash == HASH_SHA3_256 ? HASH_SHA3_256 : HASH_SHA256;
		c->copies = (uint8_t)MIN_OF(MAX_OF(hello->copies, 1u), COPIES_MAX);
		c->has_acl = (hello->incompat & SUPER_INCOMPAT_ACL) != 0;
		struct blocks_options options = {
			.rpc = c->rpc, .mds = c->mds, .loop = c->options.loop,
			.pool = c->options.pool, .hash = c->hash,
			.min_copies = (uint8_t)MAX_OF(hello->min_copies, 1u),
			.aim = (enum codec_aim)c->options.codec,
			.call_ms = MIN_OF(c->options.timeout_ms, 5000u),
		};
		int rc = blocks_create(&options, &c->blocks);
		if (rc < 0) {
			start_ended(c, rc, "cannot prepare block access");
			return;
		}
	}
	cl_session_start(c);
}

static void mds_down(void *arg, int rc)
{
	struct client *c = arg;
	if (c->life != CL_STARTING)
		return;
	/* A server that is merely not there yet is waited for; one that refuses us is not. */
	if (rc == -E_WRONG_CLUSTER)
		start_ended(c, rc, "metadata server belongs to another cluster");
	else if (rc == -E_WRONG_VERSION || rc == -E_FEATURE)
		start_ended(c, rc, "metadata server speaks another version");
}

static void request_came(void *arg, struct rpc_request *req)
{
	struct client *c = arg;
	if (req->header.type == MSG_RECALL)
		cl_lease_recall(c, req);
	else if (req->header.type == MSG_LOCK_GRANTED)
		cl_locks_granted(c, req);
	else
		rpc_answer(req, -E_NOSYS, NULL, NULL);
}

static int client_connect(struct client *c)
{
	uint64_t boot_id;
	loop_random(c->options.loop, &boot_id, sizeof boot_id);
	struct rpc_options options = {
		.loop = c->options.loop, .net = c->options.net, .pool = c->options.pool,
		.role = RPC_CLIENT, .name = c->options.node_name ? c->options.node_name : "client",
		.boot_id = boot_id | 1, .on_request = request_came, .arg = c,
	};
	memcpy(options.cluster, c->options.cluster, sizeof options.cluster);
	int rc = rpc_create(&options, &c->rpc);
	if (rc < 0)
		return rc;
	rc = rpc_peer_create(c->rpc, c->options.mds_address, &c->mds);
	if (rc < 0) {
		rpc_destroy(c->rpc);
		return rc;
	}
	rpc_peer_watch(c->mds, mds_up, mds_down, c);
	return 0;
}

/* What fills and keeps the tiers; without tiers they have nothing to do. */
static int tiers_helpers(struct client *c)
{
	const struct cl_options *o = &c->options;
	const struct cl_guess_options guess = {
		.path = o->predictor_file, .bytes_per_hour = o->predict_bytes_per_hour,
		.bytes_per_s = o->predict_bytes_per_s,
		.idle_ms = o->predict_idle_ms ? o->predict_idle_ms : GUESS_IDLE_MS,
	};
	int rc = cl_fill_init(c);
	if (rc == 0)
		rc = cl_draft_init(c);
	if (rc == 0 && o->tiers)
		rc = cl_pins_create(c, o->pins_file, &c->pins);
	if (rc == 0 && o->tiers && o->predicts)
		rc = cl_guess_create(c, &guess, &c->guess);
	return rc;
}

static void tiers_helpers_finish(struct client *c)
{
	cl_guess_destroy(c->guess);
	cl_pins_destroy(c->pins);
	cl_policy_finish(c);
	cl_siblings_finish(c);
	cl_draft_finish(c);
	cl_fill_finish(c);
}

int client_create(const struct cl_options *options, struct client **out)
{
	struct client *c = calloc(1, sizeof *c);
	if (!c)
		return -E_NOMEM;
	c->options = *options;
	if (c->options.timeout_ms == 0)
		c->options.timeout_ms = 60000;
	if (c->options.flush_ms == 0)
		c->options.flush_ms = 1000;
	if (c->options.blocks_in_flight == 0)
		c->options.blocks_in_flight = 32;
	/* Half of the memory is for what writers gathered, half for blocks that were read. */
	uint64_t memory = MAX_OF(c->options.memory_bytes, MiB(8));
	c->dirty_bytes_max = memory / 2;
	c->cache.bytes_max = memory / 2;
	c->stream_heads.max = memory / 16;
	c->cache.flying_max = (uint32_t)MIN_OF(c->options.blocks_in_flight * UINT64_C(4),
					       memory / 4 / CL_BUF_BYTES);
	c->puts.flying_max =
		(uint32_t)MIN_OF(c->options.blocks_in_flight, memory / 4 / CL_BUF_BYTES);
	c->sweep.fn = sweep_fired;
	c->interrupt_task.run = interrupt_came;
	c->locks = cl_locks_create();
	int rc = c->locks ? tiers_helpers(c) : -E_NOMEM;
	if (rc == 0)
		rc = cl_seals_create(c);
	if (rc == 0)
		rc = client_connect(c);
	if (rc < 0) {
		cl_seals_destroy(c);
		cl_locks_destroy(c->locks);
		tiers_helpers_finish(c);
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void client_start(struct client *c, void (*done)(void *arg, int rc, const char *why), void *arg)
{
	ASSERT(c->life == CL_CREATED);
	c->life = CL_STARTING;
	c->started = done;
	c->life_arg = arg;
	c->life_due_ns = loop_now_ns(c->options.loop) + c->options.timeout_ms * UINT64_C(1000000);
	c->reach_due_ns = loop_now_ns(c->options.loop) +
			  MIN_OF(c->options.timeout_ms, REACH_MS) * UINT64_C(1000000);
	loop_timer_start(c->options.loop, &c->sweep, CL_SWEEP_MS);
	cl_session_start(c);
}

void client_stop(struct client *c, void (*done)(void *arg, int rc), void *arg)
{
	c->stopped = done;
	c->life_arg = arg;
	c->life = CL_STOPPING;
	cl_atime_tell(c);
	cl_seals_stop(c);
	cl_draft_finish(c);
	cl_guess_stop(c->guess);
	cl_fill_stop(c);
	c->life_due_ns = loop_now_ns(c->options.loop) + c->options.timeout_ms * UINT64_C(1000000);
	loop_timer_start(c->options.loop, &c->sweep, 0);
}

void client_destroy(struct client *c)
{
	if (!c)
		return;
	c->life = CL_STOPPED;
	loop_timer_stop(c->options.loop, &c->sweep);
	cl_atime_finish(c);
	while (c->ops) {
		struct cl_op *op = c->ops;
		ASSERT(op->cancel);
		op_abort(op, -E_SHUTDOWN);
	}
	cl_seals_destroy(c);
	tiers_helpers_finish(c);
	cl_lease_finish(c);
	cl_pages_finish(c);
	cl_file_stop(c);
	cl_session_finish(c);
	cl_locks_destroy(c->locks);
	/* Puts and syncs under way end here, and let go of their files. */
	struct blocks *blocks = c->blocks;
	c->blocks = NULL;
	blocks_destroy(blocks);
	cl_file_finish(c);
	cl_quota_finish(c);
	cl_changes_finish(c);
	cl_cache_finish(c);
	cl_xattr_cache_finish(c);
	cl_node_finish(c);
	rpc_peer_destroy(c->mds);
	rpc_destroy(c->rpc);
	free(c);
}

bool client_has_acl(const struct client *c)
{
	return c->has_acl;
}

bool client_is_fenced(const struct client *c)
{
	return c->life == CL_RUNNING && c->session.number == 0;
}

session_no client_session(const struct client *c)
{
	return c->session.number;
}

void client_stats(const struct client *c, struct cl_stats *out)
{
	*out = c->stats;
	out->dirty_bytes = c->dirty_bytes;
	out->memory_bytes = c->dirty_bytes + c->cache.bytes;
	out->nodes = c->node_count;
	out->leases = c->node_count + c->name_count;
	const struct cl_op *op, *oldest = NULL;
	DL_FOREACH(c->ops, op)
		if (op->cancel) {
			out->ops_waiting++;
			oldest = oldest ? oldest : op;
		}
	if (oldest && oldest->waiting_for)
		(void)text_copy(out->waiting_for, sizeof out->waiting_for, oldest->waiting_for);
}
