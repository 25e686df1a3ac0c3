/* SPDX-License-Identifier: Apache-2.0 */
/* Directory rows; what they mean is said in dir.h, what they look like in key.h. */
#include "metadata-server/dir.h"

#include <string.h>

#include "fs/hash/checksum.h"

int ms_dir_check_name(struct ms_name name)
{
	if (name.len > NAME_BYTES_MAX)
		return -E_NAMETOOLONG;
	if (name.len == 0 || memchr(name.bytes, '/', name.len) || memchr(name.bytes, 0, name.len))
		return -E_INVAL;
	if (name.bytes[0] == '.' && (name.len == 1 || (name.len == 2 && name.bytes[1] == '.')))
		return -E_INVAL;
	return 0;
}

int ms_dir_find(struct ms_txn *txn, uint64_t name_key, inode_no dir, struct ms_name name,
		struct ms_dir_slot *out)
{
	struct ms_name_value v = { 0 };
	struct ms_key key;
	const void *value;
	uint32_t len;
	int rc;

	*out = (struct ms_dir_slot){ .dir = dir, .name = name };
	out->hash = checksum_name(name_key, name.bytes, name.len);
	key = ms_key_name(dir, out->hash, name);
	rc = ms_txn_get(txn, key.bytes, key.len, &value, &len);
	if (rc < 0)
		return rc == -E_NOENT ? 0 : rc;
	rc = ms_key_name_decode(value, len, &v);
	out->ino = v.ino;
	out->type = v.type;
	return rc;
}

void ms_dir_put(struct ms_txn *txn, const struct ms_dir_slot *slot)
{
	struct ms_key key = ms_key_name(slot->dir, slot->hash, slot->name);
	uint8_t value[MS_NAME_VALUE_BYTES];

	ms_key_name_encode(&(struct ms_name_value){ slot->ino, slot->type }, value);
	ms_txn_put(txn, key.bytes, key.len, value, sizeof value);
}

void ms_dir_del(struct ms_txn *txn, const struct ms_dir_slot *slot)
{
	struct ms_key key = ms_key_name(slot->dir, slot->hash, slot->name);

	ms_txn_del(txn, key.bytes, key.len);
}

int ms_dir_next(struct ms_txn *txn, inode_no dir, uint64_t hash, struct ms_name name,
		struct ms_dir_slot *out)
{
	struct ms_key from = ms_key_name(dir, hash, name);
	struct ms_name_value v = { 0 };
	struct row row;
	struct rd r;
	int rc = ms_txn_next(txn, from.bytes, from.len, &row);

	if (rc < 0)
		return rc;
	if (!ms_key_is(&row, MS_KEY_NAME, &r) || rd_be64(&r) != dir)
		return -E_NOENT;
	*out = (struct ms_dir_slot){ .dir = dir, .hash = rd_be64(&r) };
	out->name.len = (uint32_t)rd_left(&r);
	out->name.bytes = rd_view(&r, out->name.len);
	if (!rd_ok(&r) || out->name.len == 0 || out->name.len > NAME_BYTES_MAX)
		return -E_CORRUPT;
	rc = ms_key_name_decode(row.value, row.value_len, &v);
	out->ino = v.ino;
	out->type = v.type;
	return rc;
}

int ms_dir_is_empty(struct ms_txn *txn, inode_no dir)
{
	struct ms_dir_slot first;
	int rc = ms_dir_next(txn, dir, 0, (struct ms_name){ (const uint8_t *)"", 0 }, &first);

	return rc == -E_NOENT ? 1 : rc;
}
