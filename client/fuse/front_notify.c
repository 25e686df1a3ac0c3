/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel must forget. Attributes and names never wait and are told from the loop; dropping
 * pages waits for reads in flight, so it has threads of its own that serve no request: several, so
 * that a file whose read waits for a chunk server does not keep all others.
 *
 * A notification for an inode that the kernel does not know (ENOENT) may have crossed its first
 * lookup, whose old reply is then cached for the full timeout; bumping the epoch of all names cures
 * that.
 */
#include "client/fuse/front_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "fs/base/log.h"

#define LOG_MODULE "notify"

void front_notify_names(void *arg)
{
	struct front *f = arg;

	if (f->is_mounted && f->has_epoch)
		/* an error means that the mount ends */
		(void)fuse_lowlevel_notify_increment_epoch(f->session);
}

void front_notify_node(struct front *f, uint64_t node)
{
	/* A negative offset means attributes only. */
	if (f->is_mounted && fuse_lowlevel_notify_inval_inode(f->session, node, -1, 0) == -ENOENT)
		front_notify_names(f);
}

void front_notify_atime(void *arg, inode_no ino)
{
	struct front *f = arg;
	uint64_t nodes[KNODE_NODES];
	unsigned count = passthrough_nodes(f->pass, ino, nodes);

	for (unsigned i = 0; i < count; i++)
		front_notify_node(f, nodes[i]);
}

void front_notify_attr(void *arg, inode_no ino)
{
	struct front *f = arg;

	passthrough_doubt(f->pass, ino);
	front_notify_atime(f, ino);
}

void front_notify_edit(void *arg, const struct cl_edit *edit)
{
	struct front *f = arg;

	passthrough_edited(f->pass, edit);
}

void front_notify_pages(void *arg, inode_no ino, void (*done)(void *), void *done_arg)
{
	struct front *f = arg;
	struct front_drop *drop = f->notifier_count ? calloc(1, sizeof *drop) : NULL;

	/* nothing is cached before the mount; without memory attributes must do */
	if (!drop) {
		front_notify_attr(f, ino);
		done(done_arg);
		return;
	}
	passthrough_doubt(f->pass, ino);
	drop->node_count = passthrough_nodes(f->pass, ino, drop->nodes);
	drop->done = done;
	drop->arg = done_arg;
	pthread_mutex_lock(&f->lock);
	DL_APPEND(f->drops, drop);
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

/* The next inode to drop; NULL once the front stops and all are done. */
static struct front_drop *drop_next(struct front *f)
{
	struct front_drop *drop;

	pthread_mutex_lock(&f->lock);
	while (!f->drops && !f->is_stopping)
		pthread_cond_wait(&f->wake, &f->lock);
	drop = f->drops;
	if (drop)
		DL_DELETE(f->drops, drop);
	pthread_mutex_unlock(&f->lock);
	return drop;
}

static void *notifier_main(void *arg)
{
	struct front *f = CHECKED_CAST(arg, struct front, FRONT_MAGIC);
	struct front_drop *drop;

	while ((drop = drop_next(f))) {
		for (unsigned i = 0; i < drop->node_count; i++)
			if (fuse_lowlevel_notify_inval_inode(f->session, drop->nodes[i], 0, 0) ==
			    -ENOENT)
				front_notify_names(f);
		drop->done(drop->arg);
		free(drop);
	}
	return NULL;
}

int front_notify_start(struct front *f)
{
	while (f->notifier_count < FRONT_NOTIFIERS &&
	       pthread_create(&f->notifiers[f->notifier_count], NULL, notifier_main, f) == 0)
		f->notifier_count++;
	return f->notifier_count ? 0 : -E_NOMEM;
}

void front_notify_stop(struct front *f)
{
	pthread_mutex_lock(&f->lock);
	f->is_stopping = true;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	while (f->notifier_count)
		pthread_join(f->notifiers[--f->notifier_count], NULL);
}
