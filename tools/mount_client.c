/* SPDX-License-Identifier: Apache-2.0 */
/* One mount, asked by ioctl. See mount_client.h. */
#include "tools/mount_client.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/core/control.h"
#include "fs/base/text.h"
#include "tools/patience.h"

struct mount_client {
	int fd;
	dev_t device;
	ino_t ino;
	struct control_message message;
};

/* --- which mount ------------------------------------------------------------------------------ */

/* The only one of this host. */
static int find_mount(char *out, size_t out_bytes, struct error *err)
{
	const char *given = getenv("CAIRN_MNT");
	FILE *table = given && *given ? NULL : setmntent("/proc/self/mounts", "r");
	const struct mntent *entry;
	unsigned count = 0;

	if (given && *given)
		return text_copy(out, out_bytes, given) ? 0 : -E_NAMETOOLONG;
	while (table && (entry = getmntent(table)))
		if (strcmp(entry->mnt_type, "fuse.cairn") == 0 && count++ == 0)
			(void)text_copy(out, out_bytes, entry->mnt_dir);
	if (table)
		endmntent(table);
	if (count == 1)
		return 0;
	return error_say(err, -E_NOTCONN,
			 count ? "%u cairn file systems are mounted: name a path in one of them"
			       : "no cairn file system is mounted on this host%.0u",
			 count);
}

static int open_patiently(const char *path, int flags)
{
	struct patience patience;
	int fd;

	patience_begin(&patience);
	fd = open(path, O_RDONLY | O_CLOEXEC | flags);
	patience_end(&patience);
	return fd;
}

/* The folder that holds `path`, or `path` itself if it is one. */
static int open_folder(const char *path)
{
	char copy[PATH_MAX];
	int fd = open_patiently(path, O_DIRECTORY);

	if (fd >= 0 || errno != ENOTDIR || !text_copy(copy, sizeof copy, path))
		return fd;
	return open_patiently(dirname(copy), O_DIRECTORY);
}

/* Before a walk through all that lies below: an empty question, that only a mount refuses so. */
static int prove_mount(struct mount_client *m, const char *path, struct error *err)
{
	m->message.version = CONTROL_VERSION;
	m->message.len = 0;
	if (ioctl(m->fd, CONTROL_IOCTL, &m->message) == 0 || errno != ENOTTY)
		return 0;
	return error_say(err, -E_NOTCONN, "'%s' is not on a cairn file system", path);
}

/* Takes the descriptor. */
static int client_of(int fd, const char *path, struct mount_client **out, struct error *err)
{
	struct mount_client *m;
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st) != 0) {
		rc = error_from_errno(errno);
		if (fd >= 0)
			close(fd);
		return rc == -E_INTR ? patience_lost(err)
				     : error_set(err, rc, "cannot open '%s'", path);
	}
	m = calloc(1, sizeof *m);
	if (!m) {
		close(fd);
		return error_set(err, -E_NOMEM, "cannot ask '%s'", path);
	}
	*m = (struct mount_client){ .fd = fd, .device = st.st_dev, .ino = st.st_ino };
	rc = prove_mount(m, path, err);
	if (rc < 0)
		mount_client_close(m);
	else
		*out = m;
	return rc;
}

int mount_client_open(const char *path, struct mount_client **out, struct error *err)
{
	char found[PATH_MAX];
	int rc;

	if (!path) {
		rc = find_mount(found, sizeof found, err);
		if (rc < 0)
			return rc;
		path = found;
	}
	return client_of(open_folder(path), path, out, err);
}

int mount_client_open_exactly(const char *path, struct mount_client **out, struct error *err)
{
	/* Nonblocking: a FIFO is not waited for, only refused. */
	return client_of(open_patiently(path, O_NONBLOCK), path, out, err);
}

ino_t mount_client_ino(const struct mount_client *m)
{
	return m->ino;
}

bool mount_client_is_same(const struct mount_client *a, const struct mount_client *b)
{
	return a->device == b->device;
}

void mount_client_close(struct mount_client *m)
{
	if (!m)
		return;
	close(m->fd);
	free(m);
}

bool mount_client_holds(const struct mount_client *m, const struct stat *st)
{
	return st->st_dev == m->device;
}

/* --- asking ----------------------------------------------------------------------------------- */

static int ask_failed(int sys, struct error *err)
{
	switch (sys) {
	case ENODEV:
		return error_say(err, -E_NODEV, "no cache tier of this mount works; see cairn "
						"cache and mount.cairn(8)");
	case ENOSPC:
		return error_say(err, -E_NOSPC, "no tier has room for it beside what is pinned");
	case EBUSY:
		return error_say(err, -E_BUSY, "busy: it is open, pinned, or being written");
	case ETIMEDOUT:
		return error_say(err, -E_TIMEDOUT, "the metadata server does not answer; see "
						   "cairn status");
	default:
		return error_say(err, error_from_errno(sys), "%s", strerror(sys));
	}
}

int mount_client_ask(struct mount_client *m, json_t *request, json_t **reply, struct error *err)
{
	struct control_message *message = &m->message;
	size_t len = request ? json_dumpb(request, message->text, CONTROL_TEXT_BYTES - 1,
					  JSON_COMPACT)
			     : 0;

	json_decref(request);
	if (len == 0 || len >= CONTROL_TEXT_BYTES)
		return error_set(err, -E_NOMEM, "cannot ask the mount");
	message->version = CONTROL_VERSION;
	message->len = (uint32_t)len;
	if (ioctl(m->fd, CONTROL_IOCTL, message) != 0)
		return ask_failed(errno, err);
	*reply = json_loadb(message->text, MIN_OF(message->len, CONTROL_TEXT_BYTES), 0, NULL);
	if (!*reply)
		return error_say(err, -E_MALFORMED, "the mount gave an answer that is no JSON");
	return 0;
}

int mount_client_ask_inode(struct mount_client *m, const char *what, ino_t ino, json_t **reply,
			   struct error *err)
{
	return mount_client_ask(m, json_pack("{s:s, s:I}", "do", what, "ino", (json_int_t)ino),
				reply, err);
}

uint64_t mount_u64(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value < 0 ? 0 : (uint64_t)value;
}

const char *mount_text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}
