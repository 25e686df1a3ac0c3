/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The superblock: file "super" (4,096 bytes) in each metadata and chunk directory. It says to which
 * cluster the directory belongs and what it is; written once by mkfs (or a join), never changed.
 *
 *   0 8 magic "CAIRNFS1" · 8 2 version 1 · 10 1 role (1 metadata, 2 chunk disk) · 11 1 hash kind ·
 *   12 1 copies · 13 1 min copies · 14 2 zero · 16 16 cluster id · 32 16 directory uuid ·
 *   48 8 compat · 56 8 ro_compat · 64 8 incompat · 72 8 made at, wall ns · 80 8 name key ·
 *   88 16 server uuid (chunk disk) · 104 zero to 4087 · 4088 8 XXH3-64 of 0..4087
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_SUPER_H
#define CAIRN_FS_DISK_SUPER_H

#include "fs/hash/block_id.h"

#define SUPER_BYTES 4096u
#define SUPER_FILE  "super"

enum super_role { SUPER_METADATA = 1, SUPER_CHUNK = 2 };

#define SUPER_COMPAT_KNOWN	0u
#define SUPER_RO_COMPAT_KNOWN	0u
#define SUPER_INCOMPAT_KNOWN	1u
#define SUPER_INCOMPAT_ACL	1u	/* bit 0: POSIX ACLs are stored and enforced */

struct super {
	enum super_role role;
	enum hash_kind hash;
	uint8_t copies;
	uint8_t min_copies;
	uint8_t cluster[16];
	uint8_t directory[16];
	uint8_t server[16];
	uint64_t compat, ro_compat, incompat;
	uint64_t made_ns;
	uint64_t name_key;	/* of checksum_name; metadata only */
};

void super_encode(const struct super *s, uint8_t out[SUPER_BYTES]);
/* -E_BAD_MAGIC, -E_CORRUPT, -E_WRONG_VERSION, -E_FEATURE (incompat bits), -E_MALFORMED. */
must_check int super_decode(const uint8_t in[SUPER_BYTES], struct super *out);

#endif
