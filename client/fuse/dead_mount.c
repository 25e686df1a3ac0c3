/* SPDX-License-Identifier: Apache-2.0 */
/* What asks a dead mount fails at once. */
#include "client/fuse/dead_mount.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/base/log.h"
#include "fs/base/text.h"
#include "fs/io/mounts.h"

#define LOG_MODULE "mount"

void dead_mount_detach(const char *path)
{
	while (mounts_has_cairn(path, NULL) && mounts_is_dead(path) &&
	       umount2(path, MNT_DETACH) == 0)
		log_info("detached a mount on '%s' whose process had died", path);
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
