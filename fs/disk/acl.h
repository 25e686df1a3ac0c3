/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX access control lists: the form in which Linux passes and we keep them, and how they and the
 * mode of a file follow each other (acl(5)). Little-endian:
 *
 *   version u32 = 2 · then 8 bytes each: tag u16 · permissions u16 · id u32
 *
 * Entries: one for the owner, then named users, one for the group, named groups, the mask, one for
 * others; in this order, no id twice. The mask is there if anybody is named. The id of an entry
 * that names nobody says nothing; we write it as all ones.
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_ACL_H
#define CAIRN_FS_DISK_ACL_H

#include "fs/base/base.h"

#define ACL_NAME_PREFIX	 "system.posix_acl_"
#define ACL_NAME_ACCESS	 ACL_NAME_PREFIX "access"
#define ACL_NAME_DEFAULT ACL_NAME_PREFIX "default"

#define ACL_HEADER_BYTES 4u
#define ACL_ENTRY_BYTES	 8u
/* What the kernel asks for and hands over: a page. */
#define ACL_BYTES_MAX	 4096u
#define ACL_ENTRIES_MAX	 ((ACL_BYTES_MAX - ACL_HEADER_BYTES) / ACL_ENTRY_BYTES)
#define ACL_ID_NONE	 UINT32_MAX

enum acl_tag {
	ACL_OWNER = 0x01, ACL_USER = 0x02, ACL_GROUP_OWNER = 0x04, ACL_GROUP = 0x08,
	ACL_MASK = 0x10, ACL_OTHERS = 0x20,
};

struct acl_entry {
	uint16_t tag;		/* enum acl_tag */
	uint16_t perm;		/* 4 read, 2 write, 1 execute */
	uint32_t id;		/* of a named user or group; else ACL_ID_NONE */
};

struct acl {
	uint32_t count;
	struct acl_entry entries[ACL_ENTRIES_MAX];
};

/* -E_INVAL: it is none; -E_TOOBIG: more entries than the kernel could be told. */
must_check int acl_decode(const void *in, size_t len, struct acl *out);
size_t acl_encode(const struct acl *acl, uint8_t out[ACL_BYTES_MAX]);

/* It says no more than a mode does: three entries. */
bool acl_is_minimal(const struct acl *acl);
/* The nine permission bits that a mode shows for it: the mask stands for the group's. */
uint32_t acl_mode(const struct acl *acl);
/* chmod: the entries of owner, mask (without one: group) and others become those of `mode`. */
void acl_set_mode(struct acl *acl, uint32_t mode);
/*
 * The default ACL of a directory becomes the access ACL of what is made in it with `mode`: nobody
 * gets more than mode allows. Its new acl_mode() is the permission bits of the new inode.
 */
void acl_inherit(struct acl *acl, uint32_t mode);

#endif
