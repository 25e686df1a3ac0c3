/* SPDX-License-Identifier: Apache-2.0 */
/* What asks a dead mount fails at once; the table of mounts says whose it was. */
#include "client/fuse/dead_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fs/base/log.h"
#include "fs/base/text.h"

#define LOG_MODULE "mount"

/* The newest mount at this path is one of cairn. */
static bool is_ours(const char *path)
{
	FILE *table = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	bool ours = false;

	while (table && (entry = getmntent(table)))
		if (strcmp(entry->mnt_dir, path) == 0)
			ours = strcmp(entry->mnt_type, "fuse.cairn") == 0;
	if (table)
		endmntent(table);
	return ours;
}

/*
 * The kernel may still know the attributes: they have to be asked for. ECONNABORTED: its process
 * died while it was asked.
 */
static bool is_dead(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_MODE, &st) != 0 &&
	       (errno == ENOTCONN || errno == ECONNABORTED);
}

void dead_mount_detach(const char *path)
{
	while (is_ours(path) && is_dead(path) && umount2(path, MNT_DETACH) == 0)
		log_info("detached a mount on '%s' whose process had died", path);
}

bool dead_mount_lives(const char *path)
{
	return is_ours(path);
}

int dead_mount_realpath(const char *path, char out[static 4096])
{
	char parent[PATH_MAX], whole[PATH_MAX];
	char *name;

	if (realpath(path, out))
		return 0;
	if (errno != ENOTCONN || !text_copy(whole, sizeof whole, path))
		return error_from_errno(errno);
	/* Its last part is the dead mount: the rest can be looked at. */
	while (strlen(whole) > 1 && whole[strlen(whole) - 1] == '/')
		whole[strlen(whole) - 1] = '\0';
	name = strrchr(whole, '/');
	if (name)
		*name++ = '\0';
	else
		name = whole;
	if (!realpath(name == whole ? "." : *whole ? whole : "/", parent))
		return error_from_errno(errno);
	if (snprintf(out, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) >=
	    PATH_MAX)
		return -E_NAMETOOLONG;
	return 0;
}
