/* SPDX-License-Identifier: Apache-2.0 */
/* Names of extended attributes; see xattr.h. */
#include "fs/wire/xattr.h"

#include <string.h>

#include "fs/disk/acl.h"

static bool is(const void *name, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(name, text, len) == 0;
}

int xattr_name_check(const void *name, size_t len)
{
	static const char *const spaces[] = { "user.", "trusted.", "security." };

	if (len > XATTR_NAME_BYTES_MAX)
		return -E_RANGE;
	if (len == 0 || memchr(name, 0, len))
		return -E_INVAL;
	if (is(name, len, ACL_NAME_ACCESS) || is(name, len, ACL_NAME_DEFAULT))
		return 0;
	for (size_t i = 0; i < ARRAY_COUNT(spaces); i++) {
		size_t space = strlen(spaces[i]);

		if (len >= space && memcmp(name, spaces[i], space) == 0)
			return len > space ? 0 : -E_INVAL;
	}
	return -E_OPNOTSUPP;
}
