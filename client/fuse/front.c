/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount's life, and the way of one request through it.
 */
#include "client/fuse/front.h"
#include "client/fuse/front_internal.h"
#include "client/fuse/read_ahead.h"
#include "client/fuse/task.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/base/log.h"

#define LOG_MODULE "front"
#define EPOCH_MINOR 44u		/* of FUSE 7: the kernel takes FUSE_NOTIFY_INC_EPOCH */

/* --- one request ---------------------------------------------------------------------------- */

double front_seconds(uint64_t ms)
{
	return (double)ms / 1000.0;
}

/* Requests name one group only; the others are asked of the system, while the caller waits. */
static bool is_member(const struct cl_op *op, uint32_t gid)
{
	const struct front_op *fop = container_of((void *)(uintptr_t)op, struct front_op, op);

	return op->uid == 0 || op->gid == gid ||
	       task_is_in_group(fuse_req_ctx(fop->req)->pid, gid);
}

struct front_op *front_op_create(fuse_req_t req, enum cl_op_kind kind,
				 void (*reply)(struct front_op *), size_t name_bytes)
{
	struct front *f = CHECKED_CAST(fuse_req_userdata(req), struct front, FRONT_MAGIC);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct front_op *fop = calloc(1, sizeof *fop + name_bytes);

	if (!fop) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	fop->front = f;
	fop->req = req;
	fop->reply = reply;
	fop->op.kind = kind;
	fop->op.is_member = is_member;
	fop->op.uid = ctx->uid;
	fop->op.gid = ctx->gid;
	return fop;
}

struct front_op *front_op_named(fuse_req_t req, enum cl_op_kind kind,
				void (*reply)(struct front_op *), const char *name,
				const char *second)
{
	size_t name_bytes = strlen(name) + 1, second_bytes = second ? strlen(second) + 1 : 0;
	struct front_op *fop = front_op_create(req, kind, reply, name_bytes + second_bytes);

	if (!fop)
		return NULL;
	fop->op.name = memcpy(fop->names, name, name_bytes);
	if (second)
		memcpy(fop->names + name_bytes, second, second_bytes);
	return fop;
}

const char *front_op_second(const struct front_op *fop)
{
	return fop->names + strlen(fop->names) + 1;
}

void front_op_destroy(struct front_op *fop)
{
	if (fop->data_is_spare)
		front_device_give(fop->front, fop->data);
	else
		free(fop->data);
	free(fop);
}

static void op_interrupted(fuse_req_t req, void *data)
{
	struct front_op *fop = data;

	(void)req;
	client_interrupt(fop->front->client, &fop->op);
}

static enum cl_signal op_signal(const struct cl_op *op)
{
	const struct front_op *fop = container_of((void *)(uintptr_t)op, struct front_op, op);

	return task_signal(fuse_req_ctx(fop->req)->pid);
}

static void op_done(struct cl_op *op)
{
	struct front_op *fop = container_of(op, struct front_op, op);

	/*
	 * libfuse interrupts under the request's lock: after this no interrupt can be on its way
	 * into the op.
	 */
	fuse_req_interrupt_func(fop->req, NULL, NULL);
	fop->reply(fop);
	if (!fop->is_parked)
		front_op_destroy(fop);
}

void front_op_submit(struct front_op *fop)
{
	fop->op.done = op_done;
	fop->op.signal = op_signal;
	fop->op.ino = knode_ino(fop->op.ino);
	/* First, since the op may be gone when client_run() returns. */
	fuse_req_interrupt_func(fop->req, op_interrupted, fop);
	client_run(fop->front->client, &fop->op);
}

void front_op_resubmit(struct front_op *fop)
{
	fop->op.done = op_done;
	fuse_req_interrupt_func(fop->req, op_interrupted, fop);
	client_submit(fop->front->client, &fop->op);
}

void front_op_refuse(struct front_op *fop, int sys)
{
	fuse_reply_err(fop->req, sys);
	front_op_destroy(fop);
}

/*
 * Programs know EIO; that a deadline passed, and waiting for whom, is in the log, as is what a
 * power cut took.
 */
static int op_errno(const struct cl_op *op)
{
	bool is_sync = op->kind == CL_FLUSH || op->kind == CL_FSYNC || op->kind == CL_SYNCFS;

	if (op->rc == -E_TIMEDOUT || (op->rc == -E_OTHER_TERM && is_sync))
		return EIO;
	return error_to_errno(op->rc);
}

bool front_op_failed(struct front_op *fop)
{
	if (fop->op.rc >= 0)
		return false;
	int sys = op_errno(&fop->op);

	if (sys == ESTALE)
		(void)passthrough_stale(fop->front->pass, fuse_req_ctx(fop->req)->pid,
					fop->op.kind == CL_OPEN ? fop->node : 0);
	fuse_reply_err(fop->req, sys);
	return true;
}

/* --- the mount ------------------------------------------------------------------------------- */

/* In a turn of its own: the answer to INIT has left. */
static void pass_begin(struct loop_task *task)
{
	struct front *f = container_of(task, struct front, pass_task);

	passthrough_begin(f->pass, fuse_session_fd(f->session));
}

/* Stacking depth 0: tiers lie on plain file systems, and overlayfs may lie on the mount. */
static void pass_ask(struct front *f, struct fuse_conn_info *conn)
{
	if (passthrough_ask(f->pass, (conn->capable_ext & FUSE_CAP_PASSTHROUGH) != 0))
		(void)fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH);
	conn->max_backing_stack_depth = FUSE_BACKING_STACKED_UNDER;
	f->pass_task.run = pass_begin;
	loop_post(f->options.loop, &f->pass_task);
}

/*
 * Modes then come without the umask taken from them: a default ACL of the directory stands for it.
 * A kernel that does not check ACLs would let in whom they keep out.
 */
static void acl_ask(struct front *f, struct fuse_conn_info *conn)
{
	static const uint64_t wanted[] = { FUSE_CAP_POSIX_ACL, FUSE_CAP_DONT_MASK,
					   FUSE_CAP_SETXATTR_EXT };

	f->has_acl = client_has_acl(f->client);
	for (size_t i = 0; f->has_acl && i < ARRAY_COUNT(wanted); i++)
		if (!fuse_set_feature_flag(conn, wanted[i])) {
			log_error("this kernel checks no POSIX ACLs on FUSE, and '%s' has them",
				  f->options.source);
			front_stop(f);
			return;
		}
}

static void front_init(void *userdata, struct fuse_conn_info *conn)
{
	struct front *f = CHECKED_CAST(userdata, struct front, FRONT_MAGIC);
	static const uint64_t wanted[] = {
		FUSE_CAP_ASYNC_READ,	 FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_HANDLE_KILLPRIV_V2,
		FUSE_CAP_READDIRPLUS,	 FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_ASYNC_DIO,
		FUSE_CAP_CACHE_SYMLINKS, FUSE_CAP_EXPORT_SUPPORT,  FUSE_CAP_DIRECT_IO_ALLOW_MMAP,
		FUSE_CAP_IOCTL_DIR,
	};
	static const uint64_t locks[] = { FUSE_CAP_POSIX_LOCKS, FUSE_CAP_FLOCK_LOCKS };
	/* Splicing is slower than copying. */
	static const uint64_t unwanted[] = {
		FUSE_CAP_SPLICE_READ,	  FUSE_CAP_SPLICE_WRITE,     FUSE_CAP_SPLICE_MOVE,
		FUSE_CAP_WRITEBACK_CACHE, FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_ATOMIC_O_TRUNC,
		FUSE_CAP_POSIX_ACL,	  FUSE_CAP_DONT_MASK,
		FUSE_CAP_SETXATTR_EXT,
	};

	for (size_t i = 0; i < ARRAY_COUNT(wanted); i++)
		/* what the kernel lacks we do without */
		(void)fuse_set_feature_flag(conn, wanted[i]);
	for (size_t i = 0; i < ARRAY_COUNT(unwanted); i++)
		fuse_unset_feature_flag(conn, unwanted[i]);
	for (size_t i = 0; i < ARRAY_COUNT(locks); i++)
		if (f->options.has_node_locks)
			fuse_unset_feature_flag(conn, locks[i]);
		else
			(void)fuse_set_feature_flag(conn, locks[i]);
	acl_ask(f, conn);
	f->has_epoch = conn->proto_minor >= EPOCH_MINOR;
	if (!f->has_epoch)
		log_warn("this kernel cannot forget all names at once (FUSE 7.44): names are asked "
			 "for each time, which is slower");
	pass_ask(f, conn);
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;
}

int front_create(const struct front_options *options, struct front **out)
{
	struct front *f = calloc(1, sizeof *f);
	struct passthrough_options pass = { .loop = options->loop,
					    .is_wanted = options->wants_passthrough,
					    .on_lapse = front_open_lapse,
					    .arg = f };
	int rc = f ? passthrough_create(&pass, &f->pass) : -E_NOMEM;

	if (rc < 0) {
		free(f);
		return rc;
	}
	f->magic = FRONT_MAGIC;
	f->options = *options;
	f->mounts_fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	sem_init(&f->ended, 0, 0);
	sem_init(&f->stopped, 0, 0);
	*out = f;
	return 0;
}

static const char *pass_problem(void *arg)
{
	const struct front *f = arg;

	return passthrough_problem(f->pass);
}

void front_client_options(struct front *f, struct cl_options *options)
{
	options->on_inval_attr = front_notify_attr;
	options->on_inval_atime = front_notify_atime;
	options->on_inval_names = front_notify_names;
	options->on_inval_pages = front_notify_pages;
	options->on_edit = front_notify_edit;
	options->passthrough = pass_problem;
	options->atime_policy = front_atime_policy;
	options->arg = f;
}

void front_set_client(struct front *f, struct client *client)
{
	f->client = client;
	passthrough_set_client(f->pass, client);
}

/* The arguments of libfuse: its own options first, then what the user gave for the kernel. */
static int mount_arguments(const struct front *f, char *out, size_t out_bytes)
{
	int n = snprintf(out, out_bytes,
			 "fsname=%s,subtype=cairn,default_permissions,allow_other%s%s",
			 f->options.source, f->options.kernel_options[0] ? "," : "",
			 f->options.kernel_options);

	return n > 0 && (size_t)n < out_bytes ? 0 : -E_NAMETOOLONG;
}

static int session_create(struct front *f, struct error *err)
{
	static struct fuse_lowlevel_ops ops;
	char program[] = "mount.cairn", dash_o[] = "-o", text[4096];
	char *argv[] = { program, dash_o, text, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	if (mount_arguments(f, text, sizeof text) < 0)
		return error_set(err, -E_NAMETOOLONG, "cannot mount '%s'", f->options.source);
	ops.init = front_init;
	front_ops_fill(&ops);
	front_open_fill(&ops);
	front_data_fill(&ops);
	front_dir_fill(&ops);
	front_lock_fill(&ops);
	front_control_fill(&ops);
	front_statx_fill(&ops);
	f->session = fuse_session_new(&args, &ops, sizeof ops, f);
	fuse_opt_free_args(&args);
	if (!f->session)
		return error_say(err, -E_INVAL,
				 "cannot mount on '%s': libfuse refused the options '%s'",
				 f->options.mountpoint, f->options.kernel_options);
	return 0;
}

int front_mount(struct front *f, struct error *err)
{
	int rc = session_create(f, err);

	if (rc < 0)
		return rc;
	if (fuse_session_mount(f->session, f->options.mountpoint) != 0)
		return errno == ENOTCONN ?
			error_say(err, -E_NOTCONN,
				 "cannot mount on '%s': the process of an earlier mount "
				 "there died; `umount -l` that one first",
				 f->options.mountpoint) :
			error_say(err, -E_IO,
				 "cannot mount on '%s': %s; is /dev/fuse there, and is this root?",
				 f->options.mountpoint, strerror(errno));
	f->is_mounted = true;
	rc = front_notify_start(f);
	return rc < 0 ? error_set(err, rc, "cannot start the notifier thread") : 0;
}

void front_began(struct front *f)
{
	int rc = read_ahead_raise(f->options.mountpoint, f->options.read_ahead_kb);

	if (rc < 0)
		log_warn("cannot raise read-ahead of '%s', reads will be slower: %s",
			 f->options.mountpoint, error_text(rc));
}

int front_serve(struct front *f)
{
	int rc = front_device_serve(f);

	/*
	 * Lazily, so that a user inside the mount cannot keep us. Not on the loop: what the kernel
	 * still wants to write first is served meanwhile.
	 */
	if (!f->is_gone && umount2(f->options.mountpoint, MNT_DETACH) != 0 && errno != EINVAL)
		log_warn("cannot unmount '%s': %s", f->options.mountpoint, strerror(errno));
	front_device_stop(f);
	return rc;
}

void front_stop(struct front *f)
{
	sem_post(&f->ended);
}

void front_destroy(struct front *f)
{
	if (!f)
		return;
	front_notify_stop(f);
	if (f->session) {
		if (f->is_mounted)
			fuse_session_unmount(f->session);
		fuse_session_destroy(f->session);
	}
	front_device_finish(f);
	front_atime_finish(f);
	passthrough_destroy(f->pass);
	sem_destroy(&f->stopped);
	sem_destroy(&f->ended);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
