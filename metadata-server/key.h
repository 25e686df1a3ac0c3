/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the metadata server: their keys, and the values that are no noun of their own. For
 * ever. A key is a type byte and big-endian numbers, so that rows sort by value. Values are
 * little-endian.
 *
 *   type  key                              value
 *   0x01  counters                         files u64 · directories u64 · bytes logical u64 ·
 *                                          inode numbers set aside below u64 · flags u64
 *   0x02  term u64                         last number before it u64
 *   0x10  inode u64                        the inode (inode.h)
 *   0x11  inode u64                        inline content, or the target of a symbolic link
 *   0x12  inode u64                        empty: its inline content is to be moved to blocks
 *   0x13  inode u64 · name                 value of an extended attribute
 *   0x14  inode u64 · session u64          empty: has no name, but this session has it open
 *   0x20  directory u64 · hash u64 · name  type u8 (S_IFMT >> 12) · inode u64
 *   0x30  session u64                      nonce 16 · opened at u64 (wall clock, ns) · node name
 *   0x31  session u64 · slot u16           sequence u64 · request type u16 · zero u16 · result u32
 *                                          (error number, 0: done) · inode u64 · parent u64 ·
 *                                          version u64
 *   0x40  placement group u16              PG row (fs/placement/map.h)
 *   0x41  server u32                       server row (fs/placement/map.h)
 *   0x42  map                              version u64 · last server number given u32 · zero u32
 *   0x43  server u32                       content number u64 for which its groups were degraded
 *   0x50  collection                       epoch u64, from 1 on
 *   0x60  directory u64                    its quota: the next one above u64 (0: none) · bytes max
 *                                          u64 · files max u64 (0: no limit) · bytes u64 · files
 *                                          u64 · flags u32 (1: it is being removed) · zero u32
 *   0x61  directory u64                    its entries are to be given its quota: hash of the name
 *                                          to go on with u64
 *   0x68  clone u64                        not shown yet, by the inode that it will be:
 *                                          source u64 · session u64 · ticket u64 · parent u64 ·
 *                                          names u64 · bytes u64 · uid u32 · state u32
 *   0x69  clone u64 · kind u8 · inode u64  left to do for it, or done:
 *                                          target u64 · name hash u64 · name
 *   0x6a  0 u8 · directory u64             its trash: milliseconds to keep u64 · entries u64 ·
 *                                          bytes u64 · flags u64 (1: it is on)
 *   0x6a  1 u8 · directory u64 · deleted   bytes u64 · user who deleted it u32 · path below the
 *         at u64 (wall clock, ns) ·        directory
 *         inode u64
 *   0x6a  2 u8 · directory u64             its name, of one below such a directory
 *   0x6a  3 u8 · directory u64             its directories are to be told of its trash: from
 *                                          hash u64 of a name on
 *
 * Types below 0x01 belong to the view (snapshot.h). Pure; threads: any.
 */
#ifndef CAIRN_METADATA_SERVER_KEY_H
#define CAIRN_METADATA_SERVER_KEY_H

#include "fs/base/bytes.h"
#include "metadata-server/step.h"

enum ms_key_type {
	MS_KEY_COUNTERS = 0x01, MS_KEY_TERM = 0x02,
	MS_KEY_INODE = 0x10, MS_KEY_BYTES = 0x11, MS_KEY_MOVE = 0x12, MS_KEY_XATTR = 0x13,
	MS_KEY_ORPHAN = 0x14,
	MS_KEY_NAME = 0x20,
	MS_KEY_SESSION = 0x30, MS_KEY_SLOT = 0x31,
	MS_KEY_PG = 0x40, MS_KEY_SERVER = 0x41, MS_KEY_MAP = 0x42, MS_KEY_CONTENT = 0x43,
	MS_KEY_COLLECTION = 0x50,
	MS_KEY_QUOTA = 0x60, MS_KEY_QUOTA_WALK = 0x61,
	MS_KEY_CLONE = 0x68, MS_KEY_CLONE_WORK = 0x69, MS_KEY_TRASH = 0x6a,
};

/* A directory row's, and one byte more to look behind it. */
#define MS_KEY_BYTES_MAX (1u + 8u + 8u + NAME_BYTES_MAX + 1u)
_Static_assert(MS_KEY_BYTES_MAX <= ROW_KEY_BYTES_MAX, "a directory row has a legal key");

struct ms_key {
	uint8_t bytes[MS_KEY_BYTES_MAX];
	uint32_t len;
};

/* counters, map, collection */
struct ms_key ms_key_one(enum ms_key_type type);
/* term, inode ..., session */
struct ms_key ms_key_number(enum ms_key_type type, uint64_t number);
struct ms_key ms_key_xattr(inode_no ino, struct ms_name name);
struct ms_key ms_key_orphan(inode_no ino, session_no session);
struct ms_key ms_key_name(inode_no dir, uint64_t hash, struct ms_name name);
struct ms_key ms_key_slot(session_no session, uint32_t slot);
struct ms_key ms_key_pg(pg_no pg);
struct ms_key ms_key_server(server_no server);
struct ms_key ms_key_content(server_no server);
/* The first byte behind the type. */
enum ms_trash_kind { MS_TRASH_TREE = 0, MS_TRASH_ENTRY, MS_TRASH_NAME, MS_TRASH_WALK };
struct ms_key ms_key_trash(enum ms_trash_kind kind, inode_no dir);
struct ms_key ms_key_trash_entry(inode_no tree, uint64_t time_ns, inode_no ino);
struct ms_key ms_key_clone_work(inode_no clone, uint32_t kind, inode_no ino);

/* Is this row of the given type? *r then stands behind the type byte. */
bool ms_key_is(const struct row *row, enum ms_key_type type, struct rd *r);

/* --- small values; decoders answer -E_CORRUPT ------------------------------------------------- */

#define MS_COUNTERS_BYTES	40u
/* flag: content was published as blocks, so chunk servers hold data */
#define MS_COUNTERS_PUBLISHED	1u
struct ms_counters {
	uint64_t files, directories, bytes_logical, inode_limit, flags;
};
void ms_key_counters_encode(const struct ms_counters *c, uint8_t out[MS_COUNTERS_BYTES]);
must_check int ms_key_counters_decode(const void *in, size_t len, struct ms_counters *out);

#define MS_NAME_VALUE_BYTES 9u
struct ms_name_value {
	inode_no ino;
	uint32_t type;		/* S_IFMT bits */
};
void ms_key_name_encode(const struct ms_name_value *v, uint8_t out[MS_NAME_VALUE_BYTES]);
must_check int ms_key_name_decode(const void *in, size_t len, struct ms_name_value *out);

#define MS_SLOT_VALUE_BYTES 40u
struct ms_slot_value {
	uint64_t seq;		/* 0: never used */
	uint16_t op;
	uint32_t error;		/* positive number of error.def; 0: done */
	inode_no ino, parent;
	uint64_t version;	/* of ino after it */
	bool is_queued;		/* of a lock; not in the row, which is for changes only */
};
void ms_key_slot_encode(const struct ms_slot_value *v, uint8_t out[MS_SLOT_VALUE_BYTES]);
must_check int ms_key_slot_decode(const void *in, size_t len, struct ms_slot_value *out);

#define MS_NODE_NAME_BYTES_MAX 255u
#define MS_SESSION_VALUE_BYTES_MAX (16u + 8u + MS_NODE_NAME_BYTES_MAX)
struct ms_session_value {
	uint8_t nonce[16];
	uint64_t opened_wall_ns;
	char node[MS_NODE_NAME_BYTES_MAX + 1];
};
size_t ms_key_session_encode(const struct ms_session_value *v,
			     uint8_t out[MS_SESSION_VALUE_BYTES_MAX]);
must_check int ms_key_session_decode(const void *in, size_t len, struct ms_session_value *out);

#define MS_MAP_VALUE_BYTES 16u
struct ms_map_value {
	uint64_t version;
	server_no last_server;
};
void ms_key_map_encode(const struct ms_map_value *v, uint8_t out[MS_MAP_VALUE_BYTES]);
must_check int ms_key_map_decode(const void *in, size_t len, struct ms_map_value *out);

#define MS_CONTENT_VALUE_BYTES 8u
void ms_key_content_encode(uint64_t content, uint8_t out[MS_CONTENT_VALUE_BYTES]);
/* never 0 */
must_check int ms_key_content_decode(const void *in, size_t len, uint64_t *out);
#define MS_COLLECTION_VALUE_BYTES 8u
void ms_key_collection_encode(uint64_t epoch, uint8_t out[MS_COLLECTION_VALUE_BYTES]);
/* never 0 */
must_check int ms_key_collection_decode(const void *in, size_t len, uint64_t *out);

enum ms_clone_state { MS_CLONE_BUILDING = 1, MS_CLONE_BUILT = 2, MS_CLONE_GOING = 3 };
#define MS_CLONE_VALUE_BYTES 56u
struct ms_clone_value {
	inode_no source, parent;
	session_no session;
	uint64_t ticket, names, bytes;
	uint32_t uid;
	enum ms_clone_state state;
};
void ms_key_clone_encode(const struct ms_clone_value *v, uint8_t out[MS_CLONE_VALUE_BYTES]);
must_check int ms_key_clone_decode(const void *in, size_t len, struct ms_clone_value *out);

/* In the order in which they are done; of a clone that goes only the last counts. */
enum ms_clone_kind {
	MS_CLONE_XATTRS = 1,	/* inode: attributes from this name on are to be copied to target */
	MS_CLONE_LIST,		/* directory: names from (hash, name) on to be copied to target */
	MS_CLONE_COPIED,	/* directory, or inode of several names: was copied to target */
	MS_CLONE_EMPTY,		/* directory of a clone that goes: to be emptied, then removed */
};
#define MS_CLONE_WORK_BYTES_MAX (16u + NAME_BYTES_MAX + 1u)
struct ms_clone_work {
	enum ms_clone_kind kind;
	inode_no ino, target;
	uint64_t hash;
	uint32_t name_len;
	uint8_t name[NAME_BYTES_MAX + 1];
};
size_t ms_key_clone_work_encode(const struct ms_clone_work *v,
				uint8_t out[MS_CLONE_WORK_BYTES_MAX]);
/* of a row of that type, `key` behind the clone's number */
must_check int ms_key_clone_work_decode(struct rd *key, const void *in, size_t len,
					struct ms_clone_work *out);

#define MS_QUOTA_BYTES 48u
void ms_key_quota_encode(const struct ms_quota *q, uint8_t out[MS_QUOTA_BYTES]);
must_check int ms_key_quota_decode(const void *in, size_t len, struct ms_quota *out);
#define MS_QUOTA_WALK_BYTES 8u
void ms_key_quota_walk_encode(uint64_t hash, uint8_t out[MS_QUOTA_WALK_BYTES]);
must_check int ms_key_quota_walk_decode(const void *in, size_t len, uint64_t *hash);

#define MS_TRASH_BYTES	     32u
#define MS_TRASH_KEEP_MS_MAX (UINT64_C(3650) * 24 * 3600 * 1000)
struct ms_trash {
	uint64_t keep_ms, entries, bytes;
	bool is_on;
};
void ms_key_trash_encode(const struct ms_trash *v, uint8_t out[MS_TRASH_BYTES]);
must_check int ms_key_trash_decode(const void *in, size_t len, struct ms_trash *out);

#define MS_TRASH_PATH_MAX	 4096u	/* of a longer one, its end */
#define MS_TRASH_ENTRY_BYTES_MAX (12u + MS_TRASH_PATH_MAX)
struct ms_trash_entry {
	inode_no ino;
	uint64_t time_ns, bytes;
	uint32_t uid;
	struct ms_name path;	/* borrowed */
};
size_t ms_key_trash_entry_encode(const struct ms_trash_entry *v,
				 uint8_t out[MS_TRASH_ENTRY_BYTES_MAX]);
/* `key` behind the tree */
must_check int ms_key_trash_entry_decode(struct rd *key, const void *in, size_t len,
					 struct ms_trash_entry *out);

#define MS_TRASH_WALK_BYTES 8u
void ms_key_trash_walk_encode(uint64_t hash, uint8_t out[MS_TRASH_WALK_BYTES]);
must_check int ms_key_trash_walk_decode(const void *in, size_t len, uint64_t *hash);

#endif
