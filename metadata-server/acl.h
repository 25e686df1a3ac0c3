/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACLs of inodes: kept as the extended attributes that Linux calls them by, of a file system that
 * was made with them (ms_config.with_acl). Elsewhere nothing here does anything.
 *
 * Invariants: an access ACL that says no more than the mode is not kept; one that is kept and the
 * mode agree (acl_mode()); only directories have a default ACL; MS_INODE_FLAG_ACL is set while an
 * inode has either, so that clients answer "none" by themselves.
 */
#ifndef CAIRN_METADATA_SERVER_ACL_H
#define CAIRN_METADATA_SERVER_ACL_H

#include "fs/disk/acl.h"
#include "metadata-server/inode.h"

struct ms_op;
struct ms_state;

bool ms_acl_is_name(struct ms_name name);
/* SETXATTR and REMOVEXATTR of such a name: handlers (step_internal.h). */
int ms_acl_set(struct ms_op *op);
int ms_acl_remove(struct ms_op *op);
/* The mode of an inode was set: its access ACL follows. */
void ms_acl_follow_mode(struct ms_state *state, const struct ms_inode *inode);
/* What the inode that the request makes gets from its directory: no entries, if nothing. */
must_check int ms_acl_of_parent(struct ms_op *op, const struct ms_inode *dir, struct acl *out);
/* That, or the umask where there is none: mode, flags and ACLs of the new inode. */
void ms_acl_inherit(struct ms_op *op, struct acl *from_parent, struct ms_inode *inode);

#endif
