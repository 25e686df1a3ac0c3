/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May this caller? The kernel of a mount checks each system call; this is for requests that it does
 * not see into, such as a clone. The rules are acl(5)'s, "access check algorithm"; with no ACL they
 * are those of the mode.
 */
#include "metadata-server/step_internal.h"

bool ms_access_has_group(const struct ms_caller *caller, uint32_t gid)
{
	if (caller->gid == gid)
		return true;
	for (uint32_t i = 0; i < caller->group_count; i++)
		if (caller->groups[i] == gid)
			return true;
	return false;
}

static unsigned by_mode(const struct ms_caller *caller, const struct ms_attr *a)
{
	if (caller->uid == a->uid)
		return a->mode >> 6 & 7;
	return (ms_access_has_group(caller, a->gid) ? a->mode >> 3 : a->mode) & 7;
}

struct found {
	unsigned user, others, mask;
	bool has_user, has_group, has_right_group;
};

static void look_at(struct found *f, const struct ms_caller *caller, uint32_t owning_gid,
		    unsigned want, const struct acl_entry *e)
{
	if (e->tag == ACL_USER && e->id == caller->uid) {
		f->user = e->perm;
		f->has_user = true;
	} else if ((e->tag == ACL_GROUP_OWNER && ms_access_has_group(caller, owning_gid)) ||
		   (e->tag == ACL_GROUP && ms_access_has_group(caller, e->id))) {
		f->has_group = true;
		f->has_right_group |= (e->perm & want) == want;
	} else if (e->tag == ACL_MASK) {
		f->mask = e->perm;
	} else if (e->tag == ACL_OTHERS) {
		f->others = e->perm;
	}
}

/* 1: the ACL lets him; 0; or an error. */
static int by_acl(struct ms_state *state, const struct ms_caller *caller,
		  const struct ms_inode *inode, unsigned want)
{
	static const uint8_t name[] = ACL_NAME_ACCESS;
	struct ms_name access = { name, sizeof name - 1 };
	struct ms_key key = ms_key_xattr(inode->attr.ino, access);
	struct found f = { .mask = 7 };
	const void *value;
	struct acl acl;
	uint32_t len;
	int rc = ms_txn_get(state->txn, key.bytes, key.len, &value, &len);

	if (rc == -E_NOENT || caller->uid == inode->attr.uid)	/* or a default ACL only */
		return (by_mode(caller, &inode->attr) & want) == want;
	if (rc == 0 && acl_decode(value, len, &acl) < 0)
		rc = -E_CORRUPT;
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < acl.count; i++)
		look_at(&f, caller, inode->attr.gid, want, &acl.entries[i]);
	if (f.has_user)
		return (f.user & f.mask & want) == want;
	if (f.has_group)
		return f.has_right_group && (f.mask & want) == want;
	return (f.others & want) == want;
}

int ms_access(struct ms_state *state, const struct ms_caller *caller, const struct ms_inode *inode,
	      unsigned want)
{
	int may;

	if (caller->uid == 0)
		return 0;
	if (inode->attr.flags & MS_INODE_FLAG_ACL)
		may = by_acl(state, caller, inode, want);
	else
		may = (by_mode(caller, &inode->attr) & want) == want;
	if (may < 0)
		return may;
	return may ? 0 : -E_ACCES;
}
