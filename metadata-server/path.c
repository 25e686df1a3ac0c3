/* SPDX-License-Identifier: Apache-2.0 */
/* The way up from a directory; see path.h. */
#include "metadata-server/path.h"

#include <stdio.h>
#include <string.h>

#define LEVELS_MAX 64u

/* The name of a directory in its parent; false: not found within the bound. */
static bool name_of(struct ms_txn *txn, inode_no parent, inode_no dir, uint32_t *left,
		    char out[NAME_BYTES_MAX + 1])
{
	uint8_t at_bytes[NAME_BYTES_MAX + 1];
	struct ms_name at = { at_bytes, 0 };
	struct ms_dir_slot slot;
	uint64_t hash = 0;

	while (*left > 0 && ms_dir_next(txn, parent, hash, at, &slot) == 0) {
		(*left)--;
		if (slot.ino == dir) {
			(void)snprintf(out, NAME_BYTES_MAX + 1, "%.*s", (int)slot.name.len,
				       (const char *)slot.name.bytes);
			return true;
		}
		memcpy(at_bytes, slot.name.bytes, slot.name.len);
		at_bytes[slot.name.len] = 0;	/* the smallest name behind it */
		at.len = slot.name.len + 1;
		hash = slot.hash;
	}
	return false;
}

/* What does not fit at the end is cut. */
static void prepend(char path[MS_PATH_BYTES], const char *name, const char *slash)
{
	char longer[MS_PATH_BYTES + NAME_BYTES_MAX + 2];

	(void)snprintf(longer, sizeof(longer), "%s%s%s", slash, name, path);
	(void)snprintf(path, MS_PATH_BYTES, "%.*s", (int)MS_PATH_BYTES - 1, longer);
}

void ms_path_of_dir(struct ms_txn *txn, inode_no dir, uint32_t *left, char out[MS_PATH_BYTES])
{
	char name[NAME_BYTES_MAX + 1];
	struct ms_inode inode;

	out[0] = '\0';
	for (uint32_t i = 0; dir != INODE_ROOT; i++) {
		if (i == LEVELS_MAX || ms_inode_get(txn, dir, &inode) < 0 ||
		    !name_of(txn, inode.parent, dir, left, name)) {
			prepend(out, "...", "");
			return;
		}
		prepend(out, name, "/");
		dir = inode.parent;
	}
}
