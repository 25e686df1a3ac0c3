/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACLs: what is none is refused; the rest comes back byte by byte. The algebra is held against the
 * access check of acl(5), written down as it stands there: for everybody and every right, what the
 * mode says and what the list grants must agree.
 */
#include "fs/disk/acl.h"

#include <string.h>

#include "tests/check_main.h"

#define PEOPLE 6u	/* uid and gid 0..5; 0 owns the file, and its group */

static uint64_t random_state;

static uint32_t below(uint32_t bound)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(random_state >> 33) % bound;
}

static void add(struct acl *acl, enum acl_tag tag, uint32_t id)
{
	acl->entries[acl->count++] =
		(struct acl_entry){ .tag = (uint16_t)tag, .perm = (uint16_t)below(8), .id = id };
}

static struct acl any_acl(void)
{
	struct acl acl = { .count = 0 };

	add(&acl, ACL_OWNER, ACL_ID_NONE);
	for (uint32_t uid = 0; uid < PEOPLE; uid++)
		if (below(4) == 0)
			add(&acl, ACL_USER, uid);
	add(&acl, ACL_GROUP_OWNER, ACL_ID_NONE);
	for (uint32_t gid = 0; gid < PEOPLE; gid++)
		if (below(4) == 0)
			add(&acl, ACL_GROUP, gid);
	if (acl.count > 2 || below(2))
		add(&acl, ACL_MASK, ACL_ID_NONE);
	add(&acl, ACL_OTHERS, ACL_ID_NONE);
	return acl;
}

/* --- the model: "ACCESS CHECK ALGORITHM" of acl(5) -------------------------------------------- */

static const struct acl_entry *entry_of(const struct acl *acl, enum acl_tag tag, uint32_t id)
{
	for (uint32_t i = 0; i < acl->count; i++)
		if (acl->entries[i].tag == tag && acl->entries[i].id == id)
			return &acl->entries[i];
	return NULL;
}

static bool grants(const struct acl *acl, uint32_t uid, unsigned groups, unsigned wanted)
{
	const struct acl_entry *mask = entry_of(acl, ACL_MASK, ACL_ID_NONE), *e;
	unsigned most = mask ? mask->perm : 7;
	bool is_in_group = false;

	if (uid == 0)
		return (entry_of(acl, ACL_OWNER, ACL_ID_NONE)->perm & wanted) == wanted;
	e = entry_of(acl, ACL_USER, uid);
	if (e)
		return (e->perm & most & wanted) == wanted;
	for (uint32_t gid = 0; gid < PEOPLE; gid++) {
		if (!(groups & 1u << gid))
			continue;
		e = gid == 0 ? entry_of(acl, ACL_GROUP_OWNER, ACL_ID_NONE) : NULL;
		is_in_group |= e != NULL;
		if (e && (e->perm & most & wanted) == wanted)
			return true;
		e = entry_of(acl, ACL_GROUP, gid);
		is_in_group |= e != NULL;
		if (e && (e->perm & most & wanted) == wanted)
			return true;
	}
	if (is_in_group)
		return false;
	return (entry_of(acl, ACL_OTHERS, ACL_ID_NONE)->perm & wanted) == wanted;
}

/* The bits of a mode alone. */
static bool mode_grants(uint32_t mode, uint32_t uid, unsigned groups, unsigned wanted)
{
	unsigned perm = uid == 0 ? mode >> 6 : groups & 1 ? mode >> 3 : mode;

	return (perm & wanted) == wanted;
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(a_list_comes_back_and_its_mode_bounds_it)
{
	uint8_t bytes[ACL_BYTES_MAX], again[ACL_BYTES_MAX];
	struct acl back;

	random_state = 1;
	for (unsigned round = 0; round < 2000; round++) {
		struct acl acl = any_acl();
		size_t len = acl_encode(&acl, bytes);
		uint32_t mode = acl_mode(&acl);

		ck_assert_uint_eq(len, ACL_HEADER_BYTES + acl.count * ACL_ENTRY_BYTES);
		ck_assert_int_eq(acl_decode(bytes, len, &back), 0);
		ck_assert_uint_eq(acl_encode(&back, again), len);
		ck_assert_mem_eq(bytes, again, len);
		/* The group bits are the most that anybody but owner and others may have. */
		for (uint32_t uid = 1; uid < PEOPLE; uid++)
			for (unsigned wanted = 1; wanted < 8; wanted <<= 1)
				if (grants(&acl, uid, 1, wanted))
					ck_assert((mode >> 3 & wanted) == wanted);
	}
}
END_TEST

START_TEST(a_minimal_list_is_its_mode)
{
	random_state = 2;
	for (unsigned round = 0; round < 2000; round++) {
		struct acl acl = any_acl();

		if (!acl_is_minimal(&acl))
			continue;
		for (uint32_t uid = 0; uid < PEOPLE; uid++)
			for (unsigned groups = 0; groups < 1u << PEOPLE; groups++)
				for (unsigned wanted = 0; wanted < 8; wanted++)
					ck_assert(grants(&acl, uid, groups, wanted) ==
						  mode_grants(acl_mode(&acl), uid, groups, wanted));
	}
}
END_TEST

START_TEST(a_mode_that_is_set_is_shown_and_lets_nobody_have_more)
{
	random_state = 3;
	for (unsigned round = 0; round < 500; round++) {
		struct acl before = any_acl(), after = before;
		uint32_t mode = below(01000);

		acl_set_mode(&after, mode);
		ck_assert_uint_eq(acl_mode(&after), mode);
		ck_assert_uint_eq(after.count, before.count);
		for (uint32_t uid = 1; uid < PEOPLE; uid++)
			for (unsigned groups = 0; groups < 1u << PEOPLE; groups++)
				for (unsigned wanted = 1; wanted < 8; wanted <<= 1)
					if (grants(&after, uid, groups, wanted))
						ck_assert((mode >> 3 & wanted) || (mode & wanted));
		for (uint32_t i = 0; i < after.count; i++)
			if (after.entries[i].tag & (ACL_USER | ACL_GROUP))
				ck_assert_uint_eq(after.entries[i].perm, before.entries[i].perm);
	}
}
END_TEST

/* Whoever may do something to the new file may so by the default ACL, and by the mode. */
START_TEST(what_is_inherited_is_the_default_within_the_mode)
{
	random_state = 4;
	for (unsigned round = 0; round < 500; round++) {
		struct acl parent = any_acl(), child = parent;
		uint32_t mode = below(01000);

		acl_inherit(&child, mode);
		ck_assert_uint_eq(acl_mode(&child), acl_mode(&parent) & mode);
		for (uint32_t uid = 0; uid < PEOPLE; uid++)
			for (unsigned groups = 0; groups < 1u << PEOPLE; groups++)
				for (unsigned wanted = 1; wanted < 8; wanted <<= 1) {
					bool may = grants(&child, uid, groups, wanted);

					ck_assert(!may || grants(&parent, uid, groups, wanted));
					if (uid == 0)
						ck_assert(!may || (mode >> 6 & wanted));
				}
	}
}
END_TEST

struct refused { const char *why; size_t len; uint8_t bytes[48]; };
#define E(tag, perm, id) tag, 0, perm, 0, id, 0, 0, 0
#define NOBODY(tag, perm) tag, 0, perm, 0, 255, 255, 255, 255

START_TEST(what_is_no_list_is_refused)
{
	static const struct refused cases[] = {
		{ "no header", 3, { 2, 0, 0 } },
		{ "nothing in it", 4, { 2 } },
		{ "version", 28, { 1, 0, 0, 0, NOBODY(1, 7), NOBODY(4, 5), NOBODY(32, 5) } },
		{ "half an entry", 27, { 2, 0, 0, 0, NOBODY(1, 7), NOBODY(4, 5), NOBODY(32, 5) } },
		{ "no owner", 20, { 2, 0, 0, 0, NOBODY(4, 5), NOBODY(32, 5) } },
		{ "no group", 20, { 2, 0, 0, 0, NOBODY(1, 5), NOBODY(32, 5) } },
		{ "no others", 20, { 2, 0, 0, 0, NOBODY(1, 5), NOBODY(4, 5) } },
		{ "order", 28, { 2, 0, 0, 0, NOBODY(4, 7), NOBODY(1, 5), NOBODY(32, 5) } },
		{ "two owners", 36,
		  { 2, 0, 0, 0, NOBODY(1, 7), NOBODY(1, 7), NOBODY(4, 5), NOBODY(32, 5) } },
		{ "user without mask", 36,
		  { 2, 0, 0, 0, NOBODY(1, 7), E(2, 7, 9), NOBODY(4, 5), NOBODY(32, 5) } },
		{ "user of no id", 44,
		  { 2, 0, 0, 0, NOBODY(1, 7), NOBODY(2, 7), NOBODY(4, 5), NOBODY(16, 5),
		    NOBODY(32, 5) } },
		{ "right", 28, { 2, 0, 0, 0, NOBODY(1, 8), NOBODY(4, 5), NOBODY(32, 5) } },
		{ "tag", 28, { 2, 0, 0, 0, NOBODY(1, 7), NOBODY(6, 5), NOBODY(32, 5) } },
		{ "no tag", 28, { 2, 0, 0, 0, NOBODY(0, 7), NOBODY(4, 5), NOBODY(32, 5) } },
		{ "high tag", 28, { 2, 0, 0, 0, NOBODY(1, 7), NOBODY(4, 5), NOBODY(64, 5) } },
	};
	struct acl acl;

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		ck_assert_msg(acl_decode(cases[i].bytes, cases[i].len, &acl) == -E_INVAL, "%s",
			      cases[i].why);
}
END_TEST

START_TEST(nobody_is_named_twice_and_there_is_an_end)
{
	static uint8_t bytes[ACL_BYTES_MAX + ACL_ENTRY_BYTES];
	struct acl acl = { .count = 0 };
	size_t len;

	random_state = 5;
	add(&acl, ACL_OWNER, ACL_ID_NONE);
	for (uint32_t id = 0; acl.count < ACL_ENTRIES_MAX - 3; id++)
		add(&acl, ACL_USER, id * 7 % 1009);
	add(&acl, ACL_GROUP_OWNER, ACL_ID_NONE);
	add(&acl, ACL_MASK, ACL_ID_NONE);
	add(&acl, ACL_OTHERS, ACL_ID_NONE);
	len = acl_encode(&acl, bytes);
	ck_assert_int_eq(acl_decode(bytes, len, &acl), 0);
	ck_assert_int_eq(acl_decode(bytes, len + ACL_ENTRY_BYTES, &acl), -E_TOOBIG);
	memcpy(bytes + ACL_HEADER_BYTES + 100 * ACL_ENTRY_BYTES,
	       bytes + ACL_HEADER_BYTES + 5 * ACL_ENTRY_BYTES, ACL_ENTRY_BYTES);
	ck_assert_int_eq(acl_decode(bytes, len, &acl), -E_INVAL);
}
END_TEST

TEST_MAIN("acl",
	tcase_add_test(tc, a_list_comes_back_and_its_mode_bounds_it);
	tcase_add_test(tc, a_minimal_list_is_its_mode);
	tcase_add_test(tc, a_mode_that_is_set_is_shown_and_lets_nobody_have_more);
	tcase_add_test(tc, what_is_inherited_is_the_default_within_the_mode);
	tcase_add_test(tc, what_is_no_list_is_refused);
	tcase_add_test(tc, nobody_is_named_twice_and_there_is_an_end))
