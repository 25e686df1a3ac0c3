/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The read-ahead of a mount is that of its device in /sys.
 */
#include "client/fuse/read_ahead.h"
#include "client/fuse/mountinfo.h"

#include <errno.h>
#include <stdio.h>

int read_ahead_raise(const char *mountpoint, uint32_t kb)
{
	struct mountinfo mount;
	char path[64];
	FILE *f;
	int rc = mountinfo_find(mountpoint, &mount);

	if (rc < 0)
		return rc;
	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", mount.dev_major,
		 mount.dev_minor);
	f = fopen(path, "we");
	if (!f)
		return error_from_errno(errno);
	fprintf(f, "%u\n", kb);
	return fclose(f) == 0 ? 0 : error_from_errno(errno);
}
