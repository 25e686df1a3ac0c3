/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to a mount on this host, by the ioctl of client/core/control.h on one of its folders:
 * what `cairn warm`, `pin`, `unpin`, `evict`, `cache` and `swap` share. Threads: one.
 */
#ifndef CAIRN_TOOLS_MOUNT_CLIENT_H
#define CAIRN_TOOLS_MOUNT_CLIENT_H

#include <jansson.h>
#include <sys/stat.h>

#include "fs/base/base.h"

struct mount_client;

/*
 * `path` is anything below the mount; NULL: CAIRN_MNT's (inside `cairn dev`), else the only cairn
 * mount of this host. -E_NOTCONN: there is none; -E_TIMEDOUT: it lets nothing be opened.
 */
must_check int mount_client_open(const char *path, struct mount_client **out, struct error *err);
/* The file or folder itself: what is asked there is asked of it. */
must_check int mount_client_open_exactly(const char *path, struct mount_client **out,
					 struct error *err);
ino_t mount_client_ino(const struct mount_client *m);
bool mount_client_is_same(const struct mount_client *a, const struct mount_client *b);
void mount_client_close(struct mount_client *m);		/* NULL is allowed */
/* Takes the request; *reply is the caller's. */
must_check int mount_client_ask(struct mount_client *m, json_t *request, json_t **reply,
				struct error *err);
/* {"do": what, "ino": ino}; a mount that answers no has its reason in err. */
must_check int mount_client_ask_inode(struct mount_client *m, const char *what, ino_t ino,
				      json_t **reply, struct error *err);
/* Is this file on that mount? */
bool mount_client_holds(const struct mount_client *m, const struct stat *st);

uint64_t mount_u64(const json_t *object, const char *key);
const char *mount_text(const json_t *object, const char *key);	/* never NULL */

/* --- many files: warm, pin, unpin, evict, swap ------------------------------------------------ */

struct mount_file {
	char *path;
	ino_t ino;
	uint64_t bytes, done_bytes;
	bool is_told, is_done, has_failed;
	bool was_pinned;		/* swap: before it */
};
struct mount_files {
	struct mount_file *at;
	size_t count, capacity;
	uint64_t bytes;
};
/*
 * Add a file, or all below a folder (links to files are followed), that lie on the mount of *m,
 * which the first path opens. An error names the path.
 */
must_check int mount_files_add(struct mount_files *files, struct mount_client **m,
			       const char *path, struct error *err);
/* The paths that a file names, one a line; "-": standard input. */
must_check int mount_files_add_list(struct mount_files *files, struct mount_client **m,
				    const char *list, struct error *err);
void mount_files_finish(struct mount_files *files);

struct mount_files_result { uint64_t done, failed, small, bytes, done_bytes; };
/*
 * Ask `what` of every file; what fails is told on stderr, with the name of the command. With `wait`
 * (of "warm" and "pin") until all are cached, with progress on stderr if that is a terminal.
 */
void mount_files_do(struct mount_files *files, struct mount_client *m, const char *what, bool wait,
		    struct mount_files_result *out);

#endif
