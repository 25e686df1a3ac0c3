/* SPDX-License-Identifier: Apache-2.0 */
#include "client/core/shards.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/hash/checksum.h"

#define DIGITS_MIN 2
#define DIGITS_MAX 9

static int digits_at(const char *s)
{
	int n = 0;

	while (n <= DIGITS_MAX && isdigit((unsigned char)s[n]))
		n++;
	return n;
}

/* "-00002-of-00004" begins at `dash`. */
static bool parse_at(const char *name, const char *dash, struct shard_name *out)
{
	const char *index = dash + 1, *count;
	int digits = digits_at(index);

	if (digits < DIGITS_MIN || digits > DIGITS_MAX || strncmp(index + digits, "-of-", 4) != 0)
		return false;
	count = index + digits + 4;
	if (digits_at(count) != digits)
		return false;
	*out = (struct shard_name){ .stem_len = (size_t)(dash - name),
				    .rest_at = (size_t)(count + digits - name),
				    .index = (uint32_t)strtoul(index, NULL, 10),
				    .count = (uint32_t)strtoul(count, NULL, 10),
				    .digits = digits };
	return out->count > 0 && out->count <= SHARDS_MAX && out->index <= out->count;
}

bool shard_parse(const char *name, struct shard_name *out)
{
	const char *dash;

	for (dash = strchr(name, '-'); dash; dash = strchr(dash + 1, '-'))
		if (parse_at(name, dash, out))
			return true;
	return false;
}

bool shard_sibling(const char *name, const struct shard_name *shard, uint32_t index, char *out,
		   size_t out_bytes)
{
	int n = snprintf(out, out_bytes, "%.*s-%0*u-of-%0*u%s", (int)shard->stem_len, name,
			 shard->digits, index, shard->digits, shard->count, name + shard->rest_at);

	return n > 0 && (size_t)n < out_bytes;
}

uint64_t shard_model(inode_no folder, const char *name)
{
	struct shard_name shard;
	char model[NAME_BYTES_MAX + 1];

	if (!shard_parse(name, &shard) ||
	    !shard_sibling(name, &shard, 0, model, sizeof model))
		return checksum_name(folder, name, strlen(name));
	return checksum_name(folder, model, strlen(model));
}
