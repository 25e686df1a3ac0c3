/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACLs and names of extended attributes, as callers of setxattr(2) give them. The first byte
 * chooses. A list that decodes keeps its law under every change that we make to one.
 */
#include <string.h>

#include "fs/disk/acl.h"
#include "fs/wire/xattr.h"
#include "tests/fuzz/fuzz.h"

static void try_acl(const uint8_t *data, size_t size)
{
	uint8_t again[ACL_BYTES_MAX];
	struct acl acl, other;

	if (acl_decode(data, size, &acl) < 0)
		return;
	ASSERT(acl_encode(&acl, again) == size);
	ASSERT(acl_decode(again, size, &other) == 0 && acl_mode(&other) == acl_mode(&acl));
	for (uint32_t mode = 0; mode < 01000; mode += 073) {
		struct acl child = acl;

		acl_inherit(&child, mode);
		ASSERT(acl_mode(&child) == (acl_mode(&acl) & mode));
		acl_set_mode(&other, mode);
		ASSERT(acl_mode(&other) == mode);
		ASSERT(acl_encode(&other, again) == size && acl_decode(again, size, &other) == 0);
	}
}

static void try_name(const uint8_t *data, size_t size)
{
	if (xattr_name_check(data, size) == 0)
		ASSERT(size > 5 && size <= XATTR_NAME_BYTES_MAX && !memchr(data, 0, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size)
		(data[0] & 1 ? try_name : try_acl)(data + 1, size - 1);
	return 0;
}
