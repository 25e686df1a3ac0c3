/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device number of a mount comes from /proc/self/mountinfo (field 3, by field 5); stat() would
 * be a request to ourselves.
 */
#include "client/fuse/read_ahead.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		unsigned code;

		if (s[0] == '\\' && sscanf(s + 1, "%3o", &code) == 1) {
			*out++ = (char)code;
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* The newest mount on that path wins: later lines cover earlier ones. */
static int mount_device(const char *mountpoint, unsigned *dev_major, unsigned *dev_minor)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[8192], path[4097];
	unsigned major_seen, minor_seen;
	int rc = -E_NOENT;

	if (!f)
		return error_from_errno(errno);
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%*u %*u %u:%u %*s %4096s", &major_seen, &minor_seen, path) != 3)
			continue;
		unescape(path);
		if (strcmp(path, mountpoint) == 0) {
			*dev_major = major_seen;
			*dev_minor = minor_seen;
			rc = 0;
		}
	}
	fclose(f);
	return rc;
}

int read_ahead_raise(const char *mountpoint, uint32_t kb)
{
	unsigned dev_major, dev_minor;
	char path[64];
	FILE *f;
	int rc = mount_device(mountpoint, &dev_major, &dev_minor);

	if (rc < 0)
		return rc;
	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", dev_major, dev_minor);
	f = fopen(path, "we");
	if (!f)
		return error_from_errno(errno);
	fprintf(f, "%u\n", kb);
	return fclose(f) == 0 ? 0 : error_from_errno(errno);
}
