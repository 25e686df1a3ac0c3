/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens and lookups; see passthrough.h. What local changes need is in passthrough_edit.c.
 */
#include "client/fuse/passthrough.h"
#include "client/fuse/passthrough_internal.h"

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 18)
#include <fuse_lowlevel.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/fuse/task.h"
#include "client/tier/tier.h"
#include "fs/base/log.h"

#define LOG_MODULE "passthrough"

/* Of <linux/fuse.h> since Linux 6.9. libfuse's calls for these keep no errno. */
struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define LAPSE_CHECK_MS 10000u
#define DEVICE_BACKING_OPEN  _IOW(229, 1, struct backing_map)
#define DEVICE_BACKING_CLOSE _IOW(229, 2, uint32_t)

/* --- the kernel's ids ------------------------------------------------------------------------- */

/* An id, or a negated errno. */
static int id_open(const struct passthrough *pt, int fd)
{
	struct backing_map map = { .fd = fd };
	int id = ioctl(pt->device, DEVICE_BACKING_OPEN, &map);

	return id < 0 ? -errno : id;
}

static void id_close(const struct passthrough *pt, int id)
{
	uint32_t number = (uint32_t)id;

	if (ioctl(pt->device, DEVICE_BACKING_CLOSE, &number) < 0)
		log_debug("cannot close backing id %d: %s", id, strerror(errno));
}

static void problem_log(const struct passthrough *pt)
{
	log_warn("cached files are read through this process, slower than by the kernel itself: %s",
		 pt->problem);
}

static const char *registering_text(int sys)
{
	switch (sys) {
	case EPERM: return "registering their files needs CAP_SYS_ADMIN";
	case ELOOP: return "a tier lies on a stacked file system such as overlayfs";
	default: return error_text(error_from_errno(sys));
	}
}

bool passthrough_ask(struct passthrough *pt, bool is_offered)
{
	pt->is_on = is_offered && pt->options.is_wanted;
	if (!pt->options.is_wanted)
		pt->problem = "passthrough=no";
	else if (!is_offered)
		pt->problem = "this kernel has no FUSE passthrough, which came with Linux 6.9";
	return pt->is_on;
}

void passthrough_begin(struct passthrough *pt, int device)
{
	int fd = pt->is_on ? memfd_create("cairn", MFD_CLOEXEC) : -1;

	pt->device = device;
	if (fd >= 0) {
		int id = id_open(pt, fd);

		close(fd);
		if (id >= 0) {
			id_close(pt, id);
		} else {
			pt->is_on = false;
			pt->problem = registering_text(-id);
		}
	}
	if (pt->problem[0])
		problem_log(pt);
}

const char *passthrough_problem(const struct passthrough *pt)
{
	return pt->problem;
}

/* --- files ------------------------------------------------------------------------------------ */

struct backing *passthrough_backing(const struct passthrough *pt, const void *file)
{
	struct backing *b;

	HASH_FIND_PTR(pt->backings, &file, b);
	return b;
}

void passthrough_backing_put(struct passthrough *pt, struct backing *b)
{
	if (b->opens || b->catch_up)
		return;
	HASH_DEL(pt->backings, b);
	id_close(pt, b->id);
	if (b->fd >= 0)
		close(b->fd);
	tier_put(b->file);
	free(b);
}

/* What one file cannot do another may: told once. */
static void backing_refused(struct passthrough *pt, const char *why)
{
	if (pt->problem[0])
		return;
	pt->problem = why;
	problem_log(pt);
}

static int backing_register(struct passthrough *pt, struct tier_file *file)
{
	int fd, id;
	int rc = tier_open_fd(file, &fd);

	if (rc < 0) {
		backing_refused(pt, error_text(rc));
		return rc;
	}
	id = id_open(pt, fd);
	close(fd);
	if (id < 0)
		backing_refused(pt, registering_text(-id));
	return id < 0 ? error_from_errno(-id) : id;
}

/* Takes the reference, also when it fails. */
static int backing_get(struct passthrough *pt, struct tier_file *file, inode_no ino,
		       struct backing **out)
{
	struct backing *b = passthrough_backing(pt, file);
	int rc = -E_NOMEM;

	if (b) {
		ASSERT(b->ino == ino);
		tier_put(file);
		*out = b;
		return 0;
	}
	b = calloc(1, sizeof *b);
	if (b)
		rc = b->id = backing_register(pt, file);
	if (rc < 0)
		goto undo;
	b->file = file;
	b->ino = ino;
	b->fd = -1;
	HASH_ADD_PTR(pt->backings, file, b);
	if (!b->hh.tbl) {
		id_close(pt, b->id);
		rc = -E_NOMEM;
		goto undo;
	}
	*out = b;
	return 0;
undo:
	free(b);
	tier_put(file);
	return rc;
}

/* --- opens ------------------------------------------------------------------------------------ */

static bool is_writer(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY;
}

/*
 * The file that a reader of this inode can be given: a reference; NULL: none. One that is open for
 * another inode of equal content is not, since a change of either would show in both.
 */
static struct tier_file *file_for(const struct passthrough *pt, inode_no ino)
{
	struct tier_file *file = pt->is_on ? client_tier_find(pt->client, ino) : NULL;
	const struct backing *b = file ? passthrough_backing(pt, file) : NULL;

	if (b && (b->ino != ino || b->is_detached)) {
		tier_put(file);
		return NULL;
	}
	return file;
}

/* Unaligned O_DIRECT works here and not on the file systems of tiers. */
static struct tier_file *file_for_open(const struct passthrough *pt, inode_no ino,
				       const struct fuse_file_info *fi)
{
	if (is_writer(fi) || (fi->flags & O_DIRECT) || fi->direct_io)
		return NULL;
	return file_for(pt, ino);
}

static void retries_lapse(struct loop_timer *timer)
{
	struct passthrough *pt = container_of(timer, struct passthrough, lapse);
	void *kept;

	while ((kept = knode_retry_lapse(pt->nodes, loop_now_ns(pt->options.loop))))
		pt->options.on_lapse(pt->options.arg, kept);
	if (knode_has_retries(pt->nodes))
		loop_timer_start(pt->options.loop, timer, LAPSE_CHECK_MS);
}

static bool retry_start(struct passthrough *pt, int tid, uint64_t node, bool is_plain)
{
	if (!knode_retry_begin(pt->nodes, tid, node, is_plain, loop_now_ns(pt->options.loop)))
		return false;
	if (!pt->lapse.is_active)
		loop_timer_start(pt->options.loop, &pt->lapse, LAPSE_CHECK_MS);
	return true;
}

/* overlayfs, which opens with O_NOATIME, does not look up again, nor does the kernel for itself. */
static bool retry_begin(struct passthrough *pt, const struct passthrough_open *o, bool is_plain)
{
	return !(o->fi->flags & O_NOATIME) && !(task_flags(o->tid) & TASK_KERNEL) &&
	       retry_start(pt, o->tid, o->node, is_plain);
}

/* Takes the reference. */
static int open_passthrough(struct passthrough *pt, const struct passthrough_open *o,
			    struct tier_file *file)
{
	struct backing *b;
	int rc = backing_get(pt, file, knode_ino(o->node), &b);

	if (rc < 0)
		return rc;
	rc = knode_open(pt->nodes, o->node, b->file);
	if (rc < 0) {
		passthrough_backing_put(pt, b);
		return rc;
	}
	tier_use(b->file);
	b->opens++;
	b->is_doubted = false;
	o->fi->backing_id = b->id;
	o->fi->keep_cache = 0;
	return 0;
}

/*
 * The node is open by passthrough to what this open does not want, and nothing is looked up again:
 * reads come to us, maps show the file. A writer cannot be let near the file, whose descriptor is
 * for reading; it is told what it would be told of a program that runs.
 */
static int open_beside(struct passthrough *pt, const struct passthrough_open *o, struct backing *b)
{
	if (is_writer(o->fi))
		return -ETXTBSY;
	if (knode_open(pt->nodes, o->node, b->file) < 0)
		return -ENOMEM;
	b->opens++;
	o->fi->backing_id = b->id;
	o->fi->direct_io = 1;
	o->fi->keep_cache = 0;
	return 0;
}

static int open_plain(struct passthrough *pt, const struct passthrough_open *o)
{
	const void *file = knode_backing(pt->nodes, o->node);

	if (file)
		return open_beside(pt, o, passthrough_backing(pt, file));
	if (!knode_fits(pt->nodes, o->node, NULL))
		o->fi->direct_io = 1;	/* pages of the inode are at another of its nodes */
	if (knode_is_aside(o->node))
		o->fi->keep_cache = 0;	/* the client reckons with those of the home */
	return knode_open(pt->nodes, o->node, NULL) < 0 ? -ENOMEM : 0;
}

/* Gives up what was kept for a system call of this thread that did not come back for it. */
static bool retry_end(struct passthrough *pt, const struct passthrough_open *o)
{
	void *kept = knode_retry_take(pt->nodes, o->tid);

	if (kept)
		pt->options.on_lapse(pt->options.arg, kept);
	return knode_retry_end(pt->nodes, o->tid, o->node);
}

int passthrough_open(struct passthrough *pt, const struct passthrough_open *o)
{
	bool is_retry = retry_end(pt, o);
	struct tier_file *file = file_for_open(pt, knode_ino(o->node), o->fi);

	if (!knode_fits(pt->nodes, o->node, file)) {
		bool is_plain = !file;

		tier_put(file);
		file = NULL;
		if (!is_retry && retry_begin(pt, o, is_plain))
			return -ESTALE;
	}
	if (file && open_passthrough(pt, o, file) == 0)
		return 0;
	return open_plain(pt, o);
}

bool passthrough_keep(struct passthrough *pt, int tid, void *kept)
{
	return knode_retry_keep(pt->nodes, tid, kept);
}

void *passthrough_peek(const struct passthrough *pt, int tid)
{
	return knode_retry_peek(pt->nodes, tid);
}

void *passthrough_kept(struct passthrough *pt, int tid)
{
	return knode_retry_take(pt->nodes, tid);
}

bool passthrough_stale(struct passthrough *pt, int tid, uint64_t node)
{
	return retry_start(pt, tid, node, true);
}

void passthrough_release(struct passthrough *pt, uint64_t node)
{
	const void *file = knode_backing(pt->nodes, node);

	knode_release(pt->nodes, node);
	if (file) {
		struct backing *b = passthrough_backing(pt, file);

		b->opens--;
		passthrough_backing_put(pt, b);
	}
}

/* --- lookups ---------------------------------------------------------------------------------- */

uint64_t passthrough_lookup(struct passthrough *pt, inode_no ino, int tid)
{
	struct tier_file *file;
	bool is_plain;
	uint64_t node;

	if (!knode_retry_find(pt->nodes, tid, &is_plain))
		return ino;
	file = is_plain ? NULL : file_for(pt, ino);
	node = knode_choose(pt->nodes, ino, file);
	if (node == 0 || knode_looked_up(pt->nodes, node) < 0)
		node = ino;
	knode_retry_tell(pt->nodes, tid, node);
	if (!file && knode_fits(pt->nodes, node, NULL))
		knode_retry_reserve(pt->nodes, tid, node);
	tier_put(file);
	return node;
}

int passthrough_lookup_node(struct passthrough *pt, uint64_t node)
{
	if (!knode_is_valid(node))
		return -E_NOENT;
	return knode_looked_up(pt->nodes, node);
}

void passthrough_forget(struct passthrough *pt, uint64_t node, uint64_t lookups)
{
	knode_forget(pt->nodes, node, lookups);
}

unsigned passthrough_nodes(const struct passthrough *pt, inode_no ino, uint64_t *out)
{
	return knode_list(pt->nodes, ino, out);
}

bool passthrough_is_shown_twice(const struct passthrough *pt, inode_no ino)
{
	return knode_has_asides(pt->nodes, ino);
}

/* --- life ------------------------------------------------------------------------------------- */

int passthrough_create(const struct passthrough_options *options, struct passthrough **out)
{
	struct passthrough *pt = calloc(1, sizeof *pt);

	if (!pt)
		return -E_NOMEM;
	pt->options = *options;
	pt->lapse.fn = retries_lapse;
	pt->device = -1;
	pt->problem = "";
	pt->nodes = knode_create();
	if (!pt->nodes) {
		free(pt);
		return -E_NOMEM;
	}
	*out = pt;
	return 0;
}

void passthrough_set_client(struct passthrough *pt, struct client *client)
{
	pt->client = client;
}

void passthrough_destroy(struct passthrough *pt)
{
	struct backing *b, *next;
	void *kept;

	if (!pt)
		return;
	loop_timer_stop(pt->options.loop, &pt->lapse);
	while ((kept = knode_retry_lapse(pt->nodes, UINT64_MAX)))
		pt->options.on_lapse(pt->options.arg, kept);
	/* what the kernel still had open went with the mount, its ids too */
	HASH_ITER(hh, pt->backings, b, next) {
		HASH_DEL(pt->backings, b);
		if (b->fd >= 0)
			close(b->fd);
		tier_put(b->file);
		free(b->catch_up);
		free(b);
	}
	knode_destroy(pt->nodes);
	free(pt);
}
