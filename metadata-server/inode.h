/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An inode and its row. Little-endian, for ever; a part is there if its bit is set, in this order:
 *
 *   present u16 · mode u16 · version u64 · mtime i64 (ns) · ctime i64
 *   bit 0  uid u32, gid u32          else both 0
 *   bit 1  links u32                 else 1
 *   bit 2  atime i64                 else mtime
 *   bit 3  birth time i64            else ctime
 *   bit 4  size u64                  else the length of the root; where larger, the rest is a hole
 *   bit 5  device u32                else 0
 *   bit 6  flags u32                 else 0; bit 0: has an ACL, bit 1: other extended attributes,
 *                                    bit 2: it was made without a name, and may be given one
 *   bit 7  parent u64                directories, and only they
 *   bit 8  root: length u32          inline
 *   bit 9  root: length u32 · id 32  one block
 *   bit 10 root: depth u8 · cutter u8 · length u64 · data bytes u64 · id 32   manifest node;
 *          of bits 8 to 10 at most one is set
 *   bit 11 quota u64                 else 0; the nearest directory, itself included, with a quota
 *   bit 13 trash u64                 else 0; the directory in whose trash names of this one end,
 *                                    or, without links, this inode lies
 *   bit 14 depth u8 · cutter u8 · id 32   the manifest node of which the root is a recut, with the
 *                                    same length and data bytes
 *
 * So a regular file in one block, owned by a user, takes 80 bytes.
 * Pure: reads and writes rows through the overlay. One thread.
 */
#ifndef CAIRN_METADATA_SERVER_INODE_H
#define CAIRN_METADATA_SERVER_INODE_H

#include "metadata-server/key.h"
#include "metadata-server/txn.h"

#define MS_INODE_FLAG_ACL	1u
#define MS_INODE_FLAG_XATTRS	2u
#define MS_INODE_FLAG_LINKABLE	4u
#define MS_INODE_BYTES_MAX	(28u + 8u + 4u + 8u + 8u + 8u + 4u + 4u + 8u + 50u + 8u + 8u + 34u)
#define MS_DIRECTORY_SIZE	4096u	/* what st_size of a directory says: nothing, as on ext4 */

struct ms_inode {
	struct ms_attr attr;
	inode_no parent;	/* of a directory; else 0 */
	inode_no trash;		/* trash.c; 0: none */
};

size_t ms_inode_encode(const struct ms_inode *inode, uint8_t out[MS_INODE_BYTES_MAX]);
/* -E_CORRUPT. Does not set attr.ino, which is the key's. */
must_check int ms_inode_decode(const void *in, size_t len, struct ms_inode *out);

/* -E_STALE: there is no such inode; -E_CORRUPT, -E_IO. */
must_check int ms_inode_get(struct ms_txn *txn, inode_no ino, struct ms_inode *out);
void ms_inode_put(struct ms_txn *txn, const struct ms_inode *inode);

bool ms_inode_is_dir(const struct ms_inode *inode);
bool ms_inode_is_file(const struct ms_inode *inode);
/* A change at `wall_ns`: ctime and version; with mtime also mtime. */
void ms_inode_touch(struct ms_inode *inode, uint64_t wall_ns, bool mtime);
/*
 * Clear set-user-id, and set-group-id where the group may execute, or in any case: what a write by
 * a stranger does. `kill`: enum ms_kill.
 */
void ms_inode_kill_priv(struct ms_inode *inode, uint32_t kill);

#endif
