/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE front: one mount. It turns kernel requests into client operations (client/core/client.h)
 * and their results into replies; it decides nothing about content, leases or names.
 *
 * Threads: the event loop itself reads requests from the kernel, a bounded number in each turn,
 * and starts their operations; whatever must wait is parked, and replied to when the operation is
 * done: exactly once, for every operation ends by its deadline or its interrupt. Kernel
 * notifications that may wait (dropping pages) go out from one thread that serves nothing; those
 * that never wait (attributes, the epoch of all names) from the loop.
 */
#ifndef CAIRN_CLIENT_FUSE_FRONT_H
#define CAIRN_CLIENT_FUSE_FRONT_H

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 18)
#include <fuse_lowlevel.h>

#include "client/core/client.h"

struct front;

struct front_options {
	const char *source;		/* "HOST:/", shown by mount(8) */
	const char *mountpoint;		/* absolute */
	/* "ro,dev,suid,...": for the kernel and libfuse; may be "" */
	const char *kernel_options;
	uint32_t read_ahead_kb;
	struct loop *loop;
	bool wants_passthrough;
	bool has_node_locks;	/* the kernel keeps them itself */
};

/* The callbacks of cl_options are the front's: set them before client_create(). */
must_check int front_create(const struct front_options *options, struct front **out);
void front_client_options(struct front *f, struct cl_options *options);
void front_set_client(struct front *f, struct client *client);
/* Mount. The client must have started. Error sentence on failure. */
must_check int front_mount(struct front *f, struct error *err);
/*
 * Serve until unmounted or front_stop(), then unmount lazily; the loop must run on another thread.
 * 0 or a negated code.
 */
must_check int front_serve(struct front *f);
void front_stop(struct front *f);	/* any thread: end front_serve(), also one yet to begin */
void front_destroy(struct front *f);

#endif
