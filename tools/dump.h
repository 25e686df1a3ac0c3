/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text of any structure on disk, told by its magic: superblock, segment, journal file, snapshot,
 * manifest node, block record. For people who look into a broken disk: what does not check is said
 * and stepped over, never trusted (I8).
 */
#ifndef CAIRN_TOOLS_DUMP_H
#define CAIRN_TOOLS_DUMP_H

#include <stdio.h>

#include "fs/base/base.h"

struct dump_options {
	FILE *out;
	bool json; /* one object a line */
	bool deep; /* journal: the changes of each record; snapshot: every row; node: every entry */
};

/* 0; -E_BAD_MAGIC: no structure of ours; -E_CORRUPT: something in it does not check; or what the
 * disk says. */
must_check int dump_file(const char *path, const struct dump_options *options, struct error *err);
/* Every file of a metadata, chunk or any other folder, in order of names; the worst result. */
must_check int dump_path(const char *path, const struct dump_options *options, struct error *err);

#endif
