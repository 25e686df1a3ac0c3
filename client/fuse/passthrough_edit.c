/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This mount changes an inode that is open by passthrough: the file leaves its tier first, then
 * gets every change too, in order, so that readers by the kernel see what others of this mount see.
 * What was copied by reference is read back from the client; until that is done, the copy is not
 * answered.
 *
 * A change by another node ends this: from then on the file keeps what it has.
 */
#include "client/fuse/passthrough.h"
#include "client/fuse/passthrough_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

#include "client/tier/tier.h"
#include "fs/base/log.h"

#define LOG_MODULE "passthrough"
#define CATCH_BYTES MiB(1)	/* of one read */

/* --- one file --------------------------------------------------------------------------------- */

static int write_all(int fd, const void *bytes, uint64_t len, uint64_t offset)
{
	const char *from = bytes;

	while (len > 0) {
		ssize_t n = pwrite(fd, from, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int write_zeros(int fd, uint64_t len, uint64_t offset)
{
	static const char zeros[KiB(64)];

	/* every file system of tiers has holes; if not, zeros are zeros */
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		      (off_t)len) == 0)
		return 0;
	while (len > 0) {
		uint64_t n = MIN_OF(len, sizeof zeros);
		int rc = write_all(fd, zeros, n, offset);

		if (rc < 0)
			return rc;
		offset += n;
		len -= n;
	}
	return 0;
}

static int size_set(int fd, uint64_t size)
{
	struct stat st;

	if (fstat(fd, &st) < 0 ||
	    ((uint64_t)st.st_size != size && ftruncate(fd, (off_t)size) < 0))
		return -errno;
	return 0;
}

static int edit_apply(int fd, const struct cl_edit *edit)
{
	int rc = 0;

	if (edit->kind == CL_EDIT_BYTES)
		rc = write_all(fd, edit->bytes, edit->length, edit->offset);
	else if (edit->kind == CL_EDIT_ZEROS)
		rc = write_zeros(fd, edit->length, edit->offset);
	return rc < 0 ? rc : size_set(fd, edit->size);
}

/* Readers keep what they have; a new open gets the content. */
static void backing_leave(struct backing *b, const char *why)
{
	b->is_left = true;
	b->catch_from = b->catch_to = 0;
	log_warn("inode %llu is changed while it is open from a tier, where the change does not "
		 "show: %s",
		 (unsigned long long)b->ino, why);
}

static bool backing_detach(struct backing *b)
{
	int rc;

	if (b->is_detached)
		return !b->is_left;
	b->is_detached = true;
	if (b->is_doubted) {
		/* another node was here before: it keeps its version */
		b->is_left = true;
		return false;
	}
	rc = tier_detach_fd(b->file, &b->fd);
	if (rc < 0)
		backing_leave(b, error_text(rc));
	return rc == 0;
}

/* --- what was copied by reference ------------------------------------------------------------- */

struct catch_up {
	struct passthrough *pt;
	struct backing *b;
	uint64_t from, to;		/* of this read */
	bool is_outdated;		/* the range was changed since it was sent */
	struct cl_op op;
};

static void catch_next(struct passthrough *pt, struct backing *b);

static void catch_tell(struct backing *b)
{
	while (b->waits) {
		struct passthrough_wait *wait = b->waits;

		LL_DELETE(b->waits, wait);
		wait->done(wait);
	}
}

static int catch_write(const struct catch_up *up)
{
	uint64_t offset = up->from;

	for (uint32_t i = 0; i < up->op.iov_count; i++) {
		const struct iovec *v = &up->op.iov[i];
		int rc = write_all(up->b->fd, v->iov_base, v->iov_len, offset);

		if (rc < 0)
			return rc;
		offset += v->iov_len;
	}
	return 0;
}

static void catch_done(struct cl_op *op)
{
	struct catch_up *up = container_of(op, struct catch_up, op);
	struct passthrough *pt = up->pt;
	struct backing *b = up->b;
	int rc = op->rc < 0 ? op->rc : 0;

	if (rc == 0 && !up->is_outdated && !b->is_left) {
		rc = catch_write(up);
		rc = rc < 0 ? error_from_errno(-rc) : 0;
		b->catch_from = up->to;
	}
	if (rc < 0 && !b->is_left)
		backing_leave(b, error_text(rc));
	b->catch_up = NULL;
	free(up);
	catch_next(pt, b);
}

static void catch_next(struct passthrough *pt, struct backing *b)
{
	struct catch_up *up;

	if (b->catch_from >= b->catch_to || b->opens == 0) {
		b->catch_from = b->catch_to = 0;
		catch_tell(b);
		passthrough_backing_put(pt, b);
		return;
	}
	up = calloc(1, sizeof *up);
	if (!up) {
		backing_leave(b, error_text(-E_NOMEM));
		catch_next(pt, b);
		return;
	}
	*up = (struct catch_up){
		.pt = pt, .b = b, .from = b->catch_from,
		.to = MIN_OF(b->catch_to, b->catch_from + CATCH_BYTES),
		.op = { .kind = CL_READ, .ino = b->ino, .offset = b->catch_from,
			.done = catch_done },
	};
	up->op.length = up->to - up->from;
	b->catch_up = up;
	client_submit(pt->client, &up->op);
}

static void catch_up_with(struct passthrough *pt, struct backing *b,
			  const struct cl_edit *edit)
{
	uint64_t end = edit->offset + edit->length;

	b->catch_from = b->catch_to ? MIN_OF(b->catch_from, edit->offset) : edit->offset;
	b->catch_to = MAX_OF(b->catch_to, end);
	if (!b->catch_up)
		catch_next(pt, b);
}

/* The files that are open by passthrough for this inode, each once. */
static unsigned backings_of(const struct passthrough *pt, inode_no ino,
			    struct backing *out[KNODE_NODES])
{
	uint64_t ids[KNODE_NODES];
	unsigned id_count = pt->backings ? knode_list(pt->nodes, ino, ids) : 0, count = 0;

	for (unsigned i = 0; i < id_count; i++) {
		const void *file = knode_backing(pt->nodes, ids[i]);
		unsigned seen = 0;

		while (seen < count && out[seen]->file != file)
			seen++;
		if (file && seen == count)
			out[count++] = passthrough_backing(pt, file);
	}
	return count;
}

bool passthrough_is_behind(struct passthrough *pt, inode_no ino, struct passthrough_wait *wait)
{
	struct backing *b[KNODE_NODES];
	unsigned count = backings_of(pt, ino, b);

	for (unsigned i = 0; i < count; i++)
		if (b[i]->catch_up) {
			LL_APPEND(b[i]->waits, wait);
			return true;
		}
	return false;
}

/* --- the client's callbacks ------------------------------------------------------------------- */

static bool is_crossed(const struct catch_up *up, const struct cl_edit *edit)
{
	return edit->kind == CL_EDIT_SIZE ||
	       (edit->offset < up->to && up->from < edit->offset + edit->length);
}

static void backing_edited(struct passthrough *pt, struct backing *b, const struct cl_edit *edit)
{
	int rc;

	if (!backing_detach(b))
		return;
	if (b->catch_up && is_crossed(b->catch_up, edit))
		b->catch_up->is_outdated = true;
	rc = edit_apply(b->fd, edit);
	if (rc < 0)
		backing_leave(b, strerror(-rc));
	else if (edit->kind == CL_EDIT_COPIED)
		catch_up_with(pt, b, edit);
}

void passthrough_edited(struct passthrough *pt, const struct cl_edit *edit)
{
	struct backing *b[KNODE_NODES];
	unsigned count = backings_of(pt, edit->ino, b);

	for (unsigned i = 0; i < count; i++)
		backing_edited(pt, b[i], edit);
}

void passthrough_doubt(struct passthrough *pt, inode_no ino)
{
	struct backing *b[KNODE_NODES];
	unsigned count = backings_of(pt, ino, b);

	for (unsigned i = 0; i < count; i++) {
		b[i]->is_doubted = true;
		b[i]->is_left |= b[i]->is_detached;
	}
}

void passthrough_is(struct passthrough *pt, const struct cl_attr *attr)
{
	struct backing *b[KNODE_NODES];
	unsigned count = backings_of(pt, attr->st.st_ino, b);

	for (unsigned i = 0; i < count; i++)
		b[i]->is_doubted = !root_equal(&attr->root, tier_root(b[i]->file));
}
