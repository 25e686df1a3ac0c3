/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every bound of cairn, in one place, with its reason and its relations.
 * Formats (fs/disk, fs/wire) and the manual's tables follow these numbers.
 */
#ifndef CAIRN_FS_BASE_LIMITS_H
#define CAIRN_FS_BASE_LIMITS_H

#include <stdint.h>

#define KiB(n) ((uint64_t)(n) << 10)
#define MiB(n) ((uint64_t)(n) << 20)
#define GiB(n) ((uint64_t)(n) << 30)

/*
 * A block is 1 .. 65,536 plain bytes: large enough that 1 PB has 2^34 of them, small enough for a 4
 * KiB read.
 */
#define BLOCK_BYTES_MAX		65536u
#define BLOCK_ID_BYTES		32u

/* A block that does not shrink is stored raw, so BLOCK_BYTES_MAX bounds the stored bytes too. */
#define RECORD_HEADER_BYTES	64u
#define RECORD_BYTES_MAX	(RECORD_HEADER_BYTES + BLOCK_BYTES_MAX)

/* Manifest nodes are blocks. A leaf: 32 + 1,637 * 40 = 65,512; else 32 + 1,364 * 48 = 65,504. */
#define NODE_HEADER_BYTES	32u
#define NODE_ENTRY_BYTES	40u
#define NODE_ENTRIES_MAX	((BLOCK_BYTES_MAX - NODE_HEADER_BYTES) / NODE_ENTRY_BYTES)
#define NODE_CHILD_BYTES	48u
#define NODE_CHILDREN_MAX	((BLOCK_BYTES_MAX - NODE_HEADER_BYTES) / NODE_CHILD_BYTES)
#define MANIFEST_DEPTH_MAX	6	/* 1,637 * 1,364^5 blocks is beyond any 63-bit size */

#define FILE_BYTES_MAX		((uint64_t)INT64_MAX)
#define INLINE_BYTES_MAX	65536u	/* a file up to this size travels inside its publish */
/* larger inline content is moved to blocks in the background */
#define INLINE_KEEP_BYTES_MAX	4096u

#define NAME_BYTES_MAX		255u	/* as ext4 */
#define SYMLINK_BYTES_MAX	4095u
#define XATTR_NAME_BYTES_MAX	255u
#define XATTR_VALUE_BYTES_MAX	65536u
#define XATTRS_MAX		1024u	/* of one inode */
#define LINKS_MAX		65000u

#define PG_BITS			12
#define PG_COUNT		(1u << PG_BITS)
#define COPIES_MAX		5u	/* replicas of a PG */
#define FORMERS_MAX		8u	/* former holders not yet merged, of a PG */
#define SERVERS_MAX		1024u
#define DISKS_MAX		32u	/* of one chunk server */
#define MEDIA_STATUS_BYTES_MAX	4096u	/* what it tells of them */

/* One frame: header, a message, and bulk bytes beside it (an encoded block or inline content). */
#define FRAME_HEADER_BYTES	80u
#define MESSAGE_BYTES_MAX	65536u
#define BULK_BYTES_MAX		RECORD_BYTES_MAX
#define SIZES_IDS_MAX		1024u /* of one question: they fit a message, with room */

/*
 * A record of the journal: the row changes of one decided event. The largest moves 64 KiB of inline
 * bytes.
 */
#define JOURNAL_RECORD_BYTES_MAX (KiB(256))

#define ROW_KEY_BYTES_MAX	511u	/* LMDB's own bound */
#define ROW_VALUE_BYTES_MAX	(KiB(68))

#define SESSIONS_MAX		4096u
#define SESSION_SLOTS		64u	/* mutations that one session may have in flight */
#define LEASES_MAX_PER_SESSION	262144u
#define LOCKS_OF_SESSION_MAX	16384u	/* ranges that are locked or waited for */
#define LOCKS_MAX		262144u	/* of all sessions: 50 MB at most */
#define PARKED_MAX		65536u	/* requests waiting for a recall, in the metadata server */

#define LEASE_MS		10000u	/* lease.ms: renewed at a third; */
/* the client stops this much earlier than the server (I6) */
#define LEASE_MARGIN_MS		1000u
#define JOURNAL_SYNC_MS_MAX	100u	/* written records are synced at least this often */

#define ERROR_TEXT_BYTES	256u

_Static_assert(NODE_HEADER_BYTES + NODE_ENTRIES_MAX * NODE_ENTRY_BYTES <= BLOCK_BYTES_MAX &&
	       NODE_HEADER_BYTES + NODE_CHILDREN_MAX * NODE_CHILD_BYTES <= BLOCK_BYTES_MAX,
	       "a manifest node is a block");
_Static_assert(NODE_CHILDREN_MAX <= NODE_ENTRIES_MAX, "room for a leaf is room for any node");

#endif
