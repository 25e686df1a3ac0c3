/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the mount wants access times. The kernel keeps noatime, nodiratime and strictatime to itself
 * and lets mount(2) change them at any time, past us: the table of mounts tells, which is read when
 * it has changed.
 */
#include "client/fuse/front_internal.h"
#include "client/fuse/mountinfo.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

static unsigned policy_of(const struct mountinfo *mount)
{
	unsigned policy = 0;

	if (mountinfo_has(mount->options, "noatime") || mountinfo_has(mount->options, "ro"))
		policy |= CL_ATIME_NEVER;
	if (mountinfo_has(mount->options, "nodiratime"))
		policy |= CL_ATIME_NOT_OF_FOLDERS;
	if (!mountinfo_has(mount->options, "relatime"))
		policy |= CL_ATIME_STRICT;
	return policy;
}

unsigned front_atime_policy(void *arg)
{
	struct front *f = arg;
	struct pollfd p = { .fd = f->mounts_fd, .events = POLLPRI };
	struct mountinfo mount;

	if (!f->has_begun)
		return CL_ATIME_NEVER;
	if (f->mounts_fd < 0) {
		f->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
		p.fd = f->mounts_fd;
	} else if (poll(&p, 1, 0) != 1) {
		return f->atime_policy;
	}
	/* a mount that is gone, or not to be seen from here: as it was */
	if (mountinfo_find(f->options.mountpoint, &mount) == 0)
		f->atime_policy = policy_of(&mount);
	return f->atime_policy;
}

void front_atime_finish(struct front *f)
{
	if (f->mounts_fd >= 0)
		close(f->mounts_fd);
}
