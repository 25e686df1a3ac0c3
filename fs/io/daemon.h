/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a daemon between up and down: it writes its files, tells its supervisor, and runs its
 * loop until a signal has made it stop. Threads: the main one.
 */
#ifndef CAIRN_FS_IO_DAEMON_H
#define CAIRN_FS_IO_DAEMON_H

#include "fs/io/loop.h"

struct daemon {				/* the caller's; stays until the loop is destroyed */
	struct loop *loop;		/* of libuv */
	const char *address;		/* that it listens on */
	const char *directory;		/* for the log */
	const char *pid_file;		/* NULL: none */
	const char *port_file;		/* gets the address; NULL: none */
	/* At the first signal: begin to stop, and end the loop when that is done. */
	void (*stop)(void *arg);
	void *arg;
	bool is_stopping;		/* private */
};

/* 0: it served and ended; or why it cannot begin, with a sentence. */
must_check int daemon_serve(struct daemon *d, struct error *err);

#endif
