/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory rows: (directory, keyed hash of the name, name) to (inode, type). The hash is the
 * readdir cookie: it stays when names around it come and go, and names of equal hash are told apart
 * by the name.
 *
 * Pure: rows through the overlay. One thread.
 */
#ifndef CAIRN_METADATA_SERVER_DIR_H
#define CAIRN_METADATA_SERVER_DIR_H

#include "metadata-server/inode.h"

struct ms_dir_slot {		/* a place for a name, taken or not */
	inode_no dir;
	uint64_t hash;
	struct ms_name name;	/* borrowed from who asked */
	inode_no ino;		/* 0: nobody has the name */
	uint32_t type;		/* S_IFMT bits */
};

/* -E_INVAL for "", ".", ".." and names with a slash or NUL; -E_NAMETOOLONG. */
must_check int ms_dir_check_name(struct ms_name name);
/* Find the place of a name. 0 also if nobody has it (ino 0); else what reading rows says. */
must_check int ms_dir_find(struct ms_txn *txn, uint64_t name_key, inode_no dir, struct ms_name name,
			   struct ms_dir_slot *out);
void ms_dir_put(struct ms_txn *txn, const struct ms_dir_slot *slot);
void ms_dir_del(struct ms_txn *txn, const struct ms_dir_slot *slot);
/*
 * The first name at or after (hash, name); -E_NOENT at the end. out->name is borrowed from the
 * rows.
 */
must_check int ms_dir_next(struct ms_txn *txn, inode_no dir, uint64_t hash, struct ms_name name,
			   struct ms_dir_slot *out);
must_check int ms_dir_is_empty(struct ms_txn *txn, inode_no dir);	/* 1, 0, or an error */

#endif
