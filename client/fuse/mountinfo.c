/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/self/mountinfo: field 3 is the device, 5 the path, 6 the options of the mount.
 */
#include "client/fuse/mountinfo.h"

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
int mountinfo_find(const char *mountpoint, struct mountinfo *out)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[8192], path[4097];
	struct mountinfo seen;
	int rc = -E_NOENT;

	if (!f)
		return error_from_errno(errno);
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%*u %*u %u:%u %*s %4096s %255s", &seen.dev_major,
			   &seen.dev_minor, path, seen.options) != 4)
			continue;
		unescape(path);
		if (strcmp(path, mountpoint) == 0) {
			*out = seen;
			rc = 0;
		}
	}
	fclose(f);
	return rc;
}

bool mountinfo_has(const char *options, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = options; *at; at += strcspn(at, ","), at += *at == ',') {
		if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return false;
}
