/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of the kernel, read from /dev/fuse by the event loop itself. Handing each one over
 * from a thread that reads to the loop would cost two wake-ups, more than most requests do.
 *
 * A turn takes a bounded number of requests, fewer of large writes, so that network and timers get
 * their share. A large write keeps the buffer that it was read into, and the next request is read
 * into a spare one: its bytes are copied once, by the kernel.
 */
#include "client/fuse/front_internal.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>

#include "fs/base/log.h"

#define LOG_MODULE "front"
#define REQUESTS_PER_TURN 32u
#define BYTES_PER_TURN	  MiB(4)

/* --- buffers: a megabyte each, kept, since fresh pages cost more than a copy ------------------ */

/* The next one for requests. NULL: libfuse makes one of the size that it wants. */
static void *spare_get(struct front *f)
{
	struct front_spare *spare = f->spares;

	if (!spare)
		return NULL;
	f->spares = spare->next;
	f->spare_count--;
	return spare;
}

void front_device_give(struct front *f, void *memory)
{
	struct front_spare *spare = memory;

	if (!spare)
		return;
	if (f->spare_count == FRONT_SPARE_MAX) {
		free(spare);
		return;
	}
	spare->next = f->spares;
	f->spares = spare;
	f->spare_count++;
}

void *front_device_take(struct front *f)
{
	void *memory = f->receive.mem;

	f->receive.mem = spare_get(f);
	return memory;
}

/* libfuse hands on all of the request but this flag. */
bool front_device_kills_sgid(const struct front *f)
{
	const struct fuse_in_header *in = f->receive.mem;
	const struct fuse_setxattr_in *arg = (const void *)(in + 1);

	if (!f->has_acl)
		return false;		/* the field is not even there */
	ASSERT(in->opcode == FUSE_SETXATTR && in->len >= sizeof *in + sizeof *arg);
	return (arg->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
}

/* --- requests --------------------------------------------------------------------------------- */

static void device_close(struct front *f)
{
	loop_uv_watch_stop(f->watch);
	f->watch = NULL;
	/* A reply that finds nobody is no error any more. */
	fuse_session_exit(f->session);
}

static void device_gone(struct front *f, int rc)
{
	device_close(f);
	f->is_gone = true;
	f->device_rc = rc;
	sem_post(&f->ended);
}

static void device_ready(void *arg)
{
	struct front *f = CHECKED_CAST(arg, struct front, FRONT_MAGIC);

	uint64_t taken = 0;

	/* What is left is told again by the next turn. */
	for (unsigned i = 0; i < REQUESTS_PER_TURN && taken < BYTES_PER_TURN; i++) {
		int n = fuse_session_receive_buf(f->session, &f->receive);

		if (n == -EAGAIN)
			return;
		if (n == -EINTR)
			continue;
		if (n <= 0) {		/* 0: unmounted */
			device_gone(f, n < 0 ? error_from_errno(-n) : 0);
			return;
		}
		taken += (uint64_t)n;
		struct fuse_buf request = f->receive;	/* which a write may keep */

		fuse_session_process_buf(f->session, &request);
		if (!f->has_begun)	/* that was INIT */
			front_began(f);
		f->has_begun = true;
	}
}

static void device_start(struct loop_task *task)
{
	struct front *f = container_of(task, struct front, task);
	int rc = loop_uv_watch_start(f->options.loop, fuse_session_fd(f->session), device_ready, f,
				     &f->watch);

	if (rc < 0)
		device_gone(f, rc);
}

static void device_stop(struct loop_task *task)
{
	struct front *f = container_of(task, struct front, task);

	device_close(f);
	sem_post(&f->stopped);
}

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) != 0 && errno == EINTR)
		;
}

int front_device_serve(struct front *f)
{
	f->task.run = device_start;
	loop_post(f->options.loop, &f->task);
	wait_for(&f->ended);
	return f->device_rc;
}

void front_device_stop(struct front *f)
{
	f->task.run = device_stop;
	loop_post(f->options.loop, &f->task);
	wait_for(&f->stopped);
}

void front_device_finish(struct front *f)
{
	free(f->receive.mem);
	while (f->spares)
		free(spare_get(f));
}
