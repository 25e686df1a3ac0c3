/* SPDX-License-Identifier: Apache-2.0 */
/* What asks a dead mount fails at once; the table of mounts says whose it was. */
#include "fs/io/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/text.h"

bool mounts_has_cairn(const char *path, char source[MOUNT_SOURCE_BYTES])
{
	FILE *table = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	bool found = false;

	while (table && (entry = getmntent(table))) {
		if (strcmp(entry->mnt_dir, path) != 0)
			continue;
		found = strcmp(entry->mnt_type, "fuse.cairn") == 0;
		if (found && source)
			(void)text_copy(source, MOUNT_SOURCE_BYTES, entry->mnt_fsname);
	}
	if (table)
		endmntent(table);
	return found;
}

/*
 * The kernel may still know the attributes: they have to be asked for. ECONNABORTED: its process
 * died while it was asked.
 */
bool mounts_is_dead(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_MODE, &st) != 0 &&
	       (errno == ENOTCONN || errno == ECONNABORTED);
}
