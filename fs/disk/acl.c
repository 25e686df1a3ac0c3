/* SPDX-License-Identifier: Apache-2.0 */
/* Access control lists: codec and algebra; see acl.h. */
#include "fs/disk/acl.h"

#include "fs/base/bytes.h"

#define ACL_VERSION 2u

_Static_assert(ACL_HEADER_BYTES + ACL_ENTRIES_MAX * ACL_ENTRY_BYTES <= ACL_BYTES_MAX,
	       "the longest list fits");

static bool is_named(const struct acl_entry *e)
{
	return e->tag == ACL_USER || e->tag == ACL_GROUP;
}

/* Tags rise, and only those that name somebody come more than once. */
static bool is_in_order(const struct acl *acl)
{
	const struct acl_entry *e = acl->entries;

	for (uint32_t i = 1; i < acl->count; i++) {
		if (e[i].tag < e[i - 1].tag || (e[i].tag == e[i - 1].tag && !is_named(&e[i])))
			return false;
		if (!is_named(&e[i]))
			continue;
		for (uint32_t j = i; j-- > 0 && e[j].tag == e[i].tag;)
			if (e[j].id == e[i].id)
				return false;
	}
	return true;
}

static bool is_sound(const struct acl *acl)
{
	unsigned seen = 0;

	for (uint32_t i = 0; i < acl->count; i++) {
		const struct acl_entry *e = &acl->entries[i];

		if (e->perm > 7 || (e->tag & (e->tag - 1)) || !e->tag || e->tag > ACL_OTHERS)
			return false;
		if (is_named(e) && e->id == ACL_ID_NONE)
			return false;
		seen |= e->tag;
	}
	if ((seen & (ACL_USER | ACL_GROUP)) && !(seen & ACL_MASK))
		return false;
	return (seen & ACL_OWNER) && (seen & ACL_GROUP_OWNER) && (seen & ACL_OTHERS);
}

int acl_decode(const void *in, size_t len, struct acl *out)
{
	struct rd r = rd_init(in, len);

	out->count = 0;
	if (len < ACL_HEADER_BYTES || (len - ACL_HEADER_BYTES) % ACL_ENTRY_BYTES != 0)
		return -E_INVAL;
	if ((len - ACL_HEADER_BYTES) / ACL_ENTRY_BYTES > ACL_ENTRIES_MAX)
		return -E_TOOBIG;
	if (rd_u32(&r) != ACL_VERSION)
		return -E_INVAL;
	while (rd_left(&r) > 0) {
		struct acl_entry *e = &out->entries[out->count++];

		e->tag = rd_u16(&r);
		e->perm = rd_u16(&r);
		e->id = rd_u32(&r);
		if (!is_named(e))
			e->id = ACL_ID_NONE;
	}
	return is_sound(out) && is_in_order(out) ? 0 : -E_INVAL;
}

size_t acl_encode(const struct acl *acl, uint8_t out[ACL_BYTES_MAX])
{
	struct wr w = wr_init(out, ACL_BYTES_MAX);

	wr_u32(&w, ACL_VERSION);
	for (uint32_t i = 0; i < acl->count; i++) {
		wr_u16(&w, acl->entries[i].tag);
		wr_u16(&w, acl->entries[i].perm);
		wr_u32(&w, acl->entries[i].id);
	}
	ASSERT(wr_ok(&w));
	return wr_len(&w);
}

/* NULL: there is none. */
static const struct acl_entry *find(const struct acl *acl, enum acl_tag tag)
{
	for (uint32_t i = 0; i < acl->count; i++)
		if (acl->entries[i].tag == tag)
			return &acl->entries[i];
	return NULL;
}

/* The entry that the group bits of the mode stand for. */
static const struct acl_entry *group_class(const struct acl *acl)
{
	const struct acl_entry *mask = find(acl, ACL_MASK);

	return mask ? mask : find(acl, ACL_GROUP_OWNER);
}

bool acl_is_minimal(const struct acl *acl)
{
	return acl->count == 3;
}

uint32_t acl_mode(const struct acl *acl)
{
	return (uint32_t)find(acl, ACL_OWNER)->perm << 6 | (uint32_t)group_class(acl)->perm << 3 |
	       find(acl, ACL_OTHERS)->perm;
}

void acl_set_mode(struct acl *acl, uint32_t mode)
{
	const struct acl_entry *group = group_class(acl);

	for (uint32_t i = 0; i < acl->count; i++) {
		struct acl_entry *e = &acl->entries[i];

		if (e->tag == ACL_OWNER)
			e->perm = mode >> 6 & 7;
		else if (e == group)
			e->perm = mode >> 3 & 7;
		else if (e->tag == ACL_OTHERS)
			e->perm = mode & 7;
	}
}

void acl_inherit(struct acl *acl, uint32_t mode)
{
	acl_set_mode(acl, acl_mode(acl) & mode);
}
