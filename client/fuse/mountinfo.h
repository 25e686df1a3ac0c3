/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What /proc/self/mountinfo says of a mount; asking the mount itself would be a request to
 * ourselves.
 */
#ifndef CAIRN_CLIENT_FUSE_MOUNTINFO_H
#define CAIRN_CLIENT_FUSE_MOUNTINFO_H

#include "fs/base/base.h"
#include "fs/base/error.h"

struct mountinfo {
	unsigned dev_major, dev_minor;
	char options[256];		/* of this mount: "rw,nosuid,relatime" */
};

/* -E_NOENT: there is no mount on that path. */
must_check int mountinfo_find(const char *mountpoint, struct mountinfo *out);
/* Is the word among options that commas part? */
bool mountinfo_has(const char *options, const char *word);

#endif
