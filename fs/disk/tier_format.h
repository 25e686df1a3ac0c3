/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cache tier writes beside the files that it holds. All are sealed: a magic in front, the
 * XXH3-64 of all bytes before behind; lost or damaged, a tier only forgets.
 *
 *   file "cairn-tier", 64 bytes: 0 4 magic "CRNT" · 4 2 version 1 · 6 2 flags (1: closed cleanly) ·
 *     8 8 boot id of the system under which it was opened · 16 40 zero · 56 8 XXH3-64
 *   file "sums/NAME": 0 4 magic "CRNU" · 4 2 version 1 · 6 2 zero · 8 56 root · 64 4 bytes of a
 *     piece, 1,048,576 · 68 4 zero · 8 for each piece of the content, in order, the last one
 *     shorter: its XXH3-64 · 8 XXH3-64
 *   file "index": 0 4 magic "CRNI" · 4 2 version 1 · 6 2 zero · 8 4 files · 12 4 zero · for each
 *     file 72: 0 56 root, 56 8 uses, 64 8 last used, wall ns · 8 XXH3-64
 *
 * NAME is the root descriptor (fs/tree/root.h) in 112 lower-case hexadecimal digits. Pure; threads:
 * any. Foreign bytes are rejected (I8): -E_BAD_MAGIC, -E_CORRUPT, -E_WRONG_VERSION, -E_MALFORMED.
 */
#ifndef CAIRN_FS_DISK_TIER_FORMAT_H
#define CAIRN_FS_DISK_TIER_FORMAT_H

#include "fs/tree/root.h"

#define TIER_FORMAT_STATE_FILE	"cairn-tier"
#define TIER_FORMAT_STATE_BYTES 64u
#define TIER_FORMAT_INDEX_FILE	"index"
#define TIER_FORMAT_PIECE_BYTES MiB(1)
#define TIER_FORMAT_NAME_BYTES	(2 * ROOT_BYTES + 1)
#define TIER_FORMAT_FILES_MAX	65536u	/* in one tier */

struct tier_format_state {
	bool is_clean;
	uint64_t boot_id;
};
void tier_format_state_encode(const struct tier_format_state *state,
			      uint8_t out[TIER_FORMAT_STATE_BYTES]);
must_check int tier_format_state_decode(const uint8_t in[TIER_FORMAT_STATE_BYTES],
					struct tier_format_state *out);

char *tier_format_name(const struct root *root, char out[TIER_FORMAT_NAME_BYTES]);
/* -E_MALFORMED unless it is the name of content that can lie in a tier. */
must_check int tier_format_parse_name(const char *name, struct root *out);

uint64_t tier_format_pieces(const struct root *root);
/* Bytes of the sums file. */
uint64_t tier_format_sums_bytes(const struct root *root);
/* `out` has tier_format_sums_bytes(root). */
void tier_format_sums_encode(const struct root *root, const uint64_t *sums, uint8_t *out);
/* Are these the sums of `root`? `sums` has room for tier_format_pieces(root). */
must_check int tier_format_sums_decode(const uint8_t *in, size_t len, const struct root *root,
				       uint64_t *sums);

struct tier_format_use {
	struct root root;
	uint64_t uses, used_wall_ns;
};
size_t tier_format_index_bytes(uint32_t count);
/* `out` has tier_format_index_bytes(count); each call of next() gives one of `count` uses. */
void tier_format_index_encode(uint32_t count,
			      void (*next)(void *arg, struct tier_format_use *out), void *arg,
			      uint8_t *out);
/* fn() for each; nothing is told of an index that is wrong anywhere. */
must_check int tier_format_index_decode(const uint8_t *in, size_t len,
					void (*fn)(void *arg, const struct tier_format_use *use),
					void *arg);

#endif
