/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Make a directory a disk of a chunk server (mkfs.cairn, cairn dev, tests): segments/, meta/, and
 * the superblock, which comes last: a directory with a superblock is whole. Synchronous; threads:
 * one.
 */
#ifndef CAIRN_CHUNK_SERVER_FORMAT_H
#define CAIRN_CHUNK_SERVER_FORMAT_H

#include "fs/disk/super.h"
#include "fs/io/disk.h"

/* -E_NOT_EMPTY: formatted already. `super` is as to be written: role SUPER_CHUNK, ids filled in. */
must_check int cs_format(struct disk *disk, const struct super *super, struct error *err);
/* Read and check the superblock of a chunk directory. */
must_check int cs_format_read(struct disk *disk, struct super *out, struct error *err);

#endif
