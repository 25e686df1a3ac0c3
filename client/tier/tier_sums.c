/* SPDX-License-Identifier: Apache-2.0 */
/* The sums that lie beside a sealed file; on workers. */
#include <stdlib.h>

#include "client/tier/tier_internal.h"

int tier_sums_write(struct disk *disk, const struct root *root, const uint64_t *sums)
{
	uint64_t len = tier_format_sums_bytes(root);
	char path[TIER_PATH_BYTES];
	uint8_t *bytes = malloc(len);
	int rc;

	if (bytes == NULL)
		return -E_NOMEM;
	tier_format_sums_encode(root, sums, bytes);
	tier_file_sums_path(root, path);
	rc = disk_replace_file(disk, path, bytes, (uint32_t)len);
	free(bytes);
	return rc;
}

static int read_whole(struct disk_file *file, uint8_t *bytes, uint64_t len)
{
	uint64_t size = 0;
	int rc = disk_size(file, &size);

	if (rc == 0 && size != len)
		rc = -E_CORRUPT;
	return rc == 0 ? disk_read(file, bytes, (uint32_t)len, 0) : rc;
}

int tier_sums_read(struct disk *disk, const struct root *root, uint64_t **out)
{
	uint64_t len = tier_format_sums_bytes(root);
	uint64_t *sums = calloc(tier_format_pieces(root), sizeof *sums);
	uint8_t *bytes = malloc(len);
	char path[TIER_PATH_BYTES];
	struct disk_file *file;
	int rc = -E_NOMEM;

	tier_file_sums_path(root, path);
	if (sums != NULL && bytes != NULL)
		rc = disk_open(disk, path, DISK_READ, &file);
	if (rc == 0) {
		rc = read_whole(file, bytes, len);
		disk_close(file);
	}
	if (rc >= 0)
		rc = tier_format_sums_decode(bytes, (size_t)rc, root, sums);
	free(bytes);
	if (rc < 0)
		free(sums);
	else
		*out = sums;
	return rc;
}
