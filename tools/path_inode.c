/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of a mount to inodes; see path_inode.h. */
#include "tools/path_inode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tools/patience.h"

/* What mounts there? "fuse.cairn" in /proc/self/mountinfo for the file's device. */
static bool is_on_cairn(dev_t dev)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, wanted[32];
	size_t capacity = 0;
	bool found = false;

	if (!f)
		return false;
	(void)snprintf(wanted, sizeof wanted, " %u:%u ", major(dev), minor(dev));
	while (!found && getline(&line, &capacity, f) > 0)
		found = strstr(line, wanted) && strstr(line, " - fuse.cairn ");
	free(line);
	fclose(f);
	return found;
}

int path_inode(const char *path, inode_no *out, struct error *err)
{
	struct patience patience;
	struct stat st;
	int rc;

	patience_begin(&patience);
	rc = lstat(path, &st);
	patience_end(&patience);
	if (rc != 0 && errno == EINTR)
		return patience_lost(err);
	if (rc != 0)
		return error_set(err, error_from_errno(errno), "cannot look at '%s'", path);
	if (!is_on_cairn(st.st_dev))
		return error_say(err, -E_NOTCONN, "'%s' is not on a cairn file system", path);
	*out = st.st_ino;
	return 0;
}
