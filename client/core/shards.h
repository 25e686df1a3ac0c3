/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of sharded models: STEM-00002-of-00004REST, as Hugging Face's safetensors and PyTorch files
 * and split GGUF files have them. Shards of one model lie in one folder and differ in the index
 * alone. Pure.
 */
#ifndef CAIRN_CLIENT_CORE_SHARDS_H
#define CAIRN_CLIENT_CORE_SHARDS_H

#include "fs/base/base.h"

#define SHARDS_MAX 4096u

struct shard_name {
	size_t stem_len;	/* bytes before "-00002-of-00004" */
	size_t rest_at;		/* where the rest begins */
	uint32_t index, count;	/* 0 or 1 .. count */
	int digits;
};
/* False: not the name of a shard. */
bool shard_parse(const char *name, struct shard_name *out);
/* The name of another shard of that model. False: it does not fit. */
bool shard_sibling(const char *name, const struct shard_name *shard, uint32_t index, char *out,
		   size_t out_bytes);
/* The same for all shards of a model, and for nothing else but by chance (XXH3-64). */
uint64_t shard_model(inode_no folder, const char *name);

#endif
