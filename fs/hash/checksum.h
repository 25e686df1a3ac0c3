/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums against accidents of disk and wire: XXH3-64 (xxHash 0.8, seed 0 unless given).
 * Not a defence against malice; ids are (fs/hash/block_id.h). Threads: any.
 */
#ifndef CAIRN_FS_HASH_CHECKSUM_H
#define CAIRN_FS_HASH_CHECKSUM_H

#include "fs/base/base.h"

uint64_t checksum_of(const void *bytes, size_t len);
uint64_t checksum_seeded(const void *bytes, size_t len, uint64_t seed);
/* Of two pieces as if they lay one behind the other. */
uint64_t checksum_joined(const void *first, size_t first_len, const void *second,
			 size_t second_len);
/* Of `len` bytes that lie in parts, from `skip` bytes behind their begin on. */
struct iovec;
uint64_t checksum_iov(const struct iovec *iov, uint32_t iov_count, uint64_t skip, uint64_t len);

/*
 * The place of a name in its directory: a keyed hash of 63 bits, never 0, 1 or 2 (cookies of the
 * start, "." and ".."). `key` is the cluster's, made at mkfs, so that nobody can plan collisions.
 */
uint64_t checksum_name(uint64_t key, const void *name, size_t len);

#endif
