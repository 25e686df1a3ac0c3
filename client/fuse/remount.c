/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount -o remount: the kernel's options of a mount.
 */
#include "client/fuse/remount.h"
#include "client/fuse/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

/*
 * What is not named stays as it is: mount(2) would take away nosuid from who asks for ro. The
 * kernel does so itself for access times, if none of them is named.
 */
int remount(const struct mount_options *o)
{
	static const struct {
		const char *name, *opposite;
		unsigned long flag;
	} flags[] = {
		{ "ro", "rw", MS_RDONLY },
		{ "nosuid", "suid", MS_NOSUID },
		{ "nodev", "dev", MS_NODEV },
		{ "noexec", "exec", MS_NOEXEC },
		{ "sync", "async", MS_SYNCHRONOUS },
		{ "dirsync", NULL, MS_DIRSYNC },
	}, times[] = {
		{ "noatime", NULL, MS_NOATIME },
		{ "nodiratime", NULL, MS_NODIRATIME },
		{ "relatime", NULL, MS_RELATIME },
		{ "strictatime", NULL, MS_STRICTATIME },
	};
	struct mountinfo now = { .options = "" };
	unsigned long mask = MS_REMOUNT;

	(void)!mountinfo_find(o->mountpoint, &now);	/* mount(2) says what is wrong with it */
	for (size_t i = 0; i < ARRAY_COUNT(flags); i++)
		if (mountinfo_has(o->kernel_options, flags[i].name) ||
		    (mountinfo_has(now.options, flags[i].name) &&
		     !(flags[i].opposite && mountinfo_has(o->kernel_options, flags[i].opposite))))
			mask |= flags[i].flag;
	for (size_t i = 0; i < ARRAY_COUNT(times); i++)
		if (mountinfo_has(o->kernel_options, times[i].name))
			mask |= times[i].flag;
	if (o->has_settings)	/* those of fstab(5) come along: no error */
		fprintf(stderr, "mount.cairn: a remount changes ro, noatime and the like; other "
			"options, such as soft and timeo, stay as they are until '%s' is unmounted "
			"and mounted\n", o->mountpoint);
	if (mount(o->source, o->mountpoint, NULL, mask, NULL) == 0)
		return 0;
	fprintf(stderr, "mount.cairn: cannot remount '%s': %s\n", o->mountpoint, strerror(errno));
	return -E_IO;
}
