/* SPDX-License-Identifier: Apache-2.0 */
/* Making and recognising a chunk directory. */
#include "chunk-server/format.h"

int cs_format(struct disk *disk, const struct super *super, struct error *err)
{
	uint8_t bytes[SUPER_BYTES];
	int rc = disk_read_file(disk, SUPER_FILE, bytes, sizeof(bytes));

	ASSERT(super->role == SUPER_CHUNK);
	if (rc >= 0)
		return error_set(err, -E_NOT_EMPTY, "cannot format the directory");
	if (rc != -E_NOENT)
		return error_set(err, rc, "cannot read '" SUPER_FILE "'");
	rc = disk_mkdir(disk, "segments");
	if (rc == 0)
		rc = disk_mkdir(disk, "meta");
	if (rc == 0)
		rc = disk_sync_dir(disk, "");
	if (rc < 0)
		return error_set(err, rc, "cannot make the directories of a chunk server");
	super_encode(super, bytes);
	rc = disk_replace_file(disk, SUPER_FILE, bytes, sizeof(bytes));
	if (rc < 0)
		return error_set(err, rc, "cannot write '" SUPER_FILE "'");
	return 0;
}

int cs_format_read(struct disk *disk, struct super *out, struct error *err)
{
	uint8_t bytes[SUPER_BYTES] = {0};
	int rc = disk_read_file(disk, SUPER_FILE, bytes, sizeof(bytes));

	if (rc == -E_NOENT)
		return error_say(err, rc,
				 "not formatted: no file '" SUPER_FILE "' (mkfs.cairn makes it)");
	if (rc < 0)
		return error_set(err, rc, "cannot read '" SUPER_FILE "'");
	rc = super_decode(bytes, out);
	if (rc < 0)
		return error_set(err, rc, "cannot use '" SUPER_FILE "'");
	if (out->role != SUPER_CHUNK)
		return error_say(err, -E_INVAL, "is the directory of a metadata server");
	return 0;
}
