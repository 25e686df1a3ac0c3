/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/remove_tree.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
	(void)st;
	(void)kind;
	(void)place;
	return remove(path);
}

int remove_tree(const char *path, struct error *err)
{
	/* FTW_MOUNT: a mount that is still up below is not emptied. */
	if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT)
		return error_set(err, error_from_errno(errno), "cannot remove '%s'", path);
	return 0;
}
