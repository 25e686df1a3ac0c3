/* SPDX-License-Identifier: Apache-2.0 */
/* ACLs of inodes: set by whom, kept equal to the mode, handed on to what is made. */
#include "fs/disk/acl.h"
#include "metadata-server/inode.h"
#include "tests/check_main.h"
#include "tests/ms_world.h"

#define OWNER 1000u

static struct world w;
static session_no s;

static void begin(bool with_acl)
{
	struct ms_config config = world_config();

	config.with_acl = with_acl;
	world_init_with(&w, &config);
	s = world_session(&w);
}

/* owner, user 7, group, mask, others */
static struct ms_request set(inode_no ino, const char *name, unsigned mode, int user)
{
	static uint8_t bytes[ACL_BYTES_MAX];
	struct acl acl = { .count = 0 };
	const uint16_t perm[] = { mode >> 6 & 7, (uint16_t)user, 5, mode >> 3 & 7, mode & 7 };
	const uint16_t tag[] = { ACL_OWNER, ACL_USER, ACL_GROUP_OWNER, ACL_MASK, ACL_OTHERS };
	struct ms_request req = { .op = MSG_SETXATTR, .session = s, .ino = ino,
				  .name = world_name(name), .bulk = bytes,
				  .caller.uid = OWNER };

	for (size_t i = 0; i < ARRAY_COUNT(tag); i++) {
		struct acl_entry e = { tag[i], perm[i], tag[i] == ACL_USER ? 7 : ACL_ID_NONE };

		if (user < 0 && (tag[i] == ACL_USER || tag[i] == ACL_MASK))
			continue;
		if (user < 0 && tag[i] == ACL_GROUP_OWNER)
			e.perm = mode >> 3 & 7;
		acl.entries[acl.count++] = e;
	}
	req.bulk_len = (uint32_t)acl_encode(&acl, bytes);
	return req;
}

static struct ms_request make(const char *name, inode_no parent, uint32_t mode, uint32_t umask)
{
	return (struct ms_request){ .op = MSG_MAKE, .session = s, .parent = parent,
				    .name = world_name(name), .mode = mode, .umask = umask,
				    .exclusive = true, .caller = { .uid = OWNER, .gid = OWNER } };
}

static int get(inode_no ino, const char *name, struct acl *out)
{
	const struct ms_reply *reply =
		world_do(&w, (struct ms_request){ .op = MSG_GETXATTR, .session = s, .ino = ino,
						  .name = world_name(name) });

	if (reply->rc < 0)
		return reply->rc;
	ck_assert_int_eq(acl_decode(reply->bulk, reply->bulk_len, out), 0);
	return 0;
}

static struct ms_attr look(inode_no ino)
{
	return world_do(&w, (struct ms_request){ .op = MSG_GETATTR, .session = s, .ino = ino })
		->attr;
}

static inode_no made(const char *name, inode_no parent, uint32_t mode, uint32_t umask)
{
	const struct ms_reply *reply = world_do(&w, make(name, parent, mode, umask));

	ck_assert_int_eq(reply->rc, 0);
	return reply->attr.ino;
}

START_TEST(list_and_mode_follow_each_other)
{
	struct ms_request chmod = { .op = MSG_SETATTR, .mask = MS_SET_MODE, .mode = 02710 };
	struct acl acl;
	inode_no ino;

	begin(true);
	ino = made("f", INODE_ROOT, S_IFREG | 02644, 0);
	ck_assert_int_eq(world_rc(&w, set(ino, ACL_NAME_ACCESS, 0651, 7)), 0);
	ck_assert_uint_eq(look(ino).mode, S_IFREG | 02651);
	ck_assert_uint_eq(look(ino).flags, MS_INODE_FLAG_ACL);
	ck_assert_int_eq(get(ino, ACL_NAME_ACCESS, &acl), 0);

	chmod.session = s;
	chmod.ino = ino;
	ck_assert_int_eq(world_rc(&w, chmod), 0);
	ck_assert_int_eq(get(ino, ACL_NAME_ACCESS, &acl), 0);
	ck_assert_uint_eq(acl_mode(&acl), 0710);
	ck_assert_uint_eq(acl.entries[1].perm, 7);	/* only the mask has changed */
	ck_assert_uint_eq(acl.entries[2].perm, 5);

	/* One that says no more than a mode is the mode. */
	ck_assert_int_eq(world_rc(&w, set(ino, ACL_NAME_ACCESS, 0604, -1)), 0);
	ck_assert_uint_eq(look(ino).mode, S_IFREG | 02604);
	ck_assert_uint_eq(look(ino).flags, 0);
	ck_assert_int_eq(get(ino, ACL_NAME_ACCESS, &acl), -E_NODATA);
	world_finish(&w);
}
END_TEST

START_TEST(set_group_id_goes_when_the_kernel_says_so)
{
	struct ms_request req;
	inode_no ino;

	begin(true);
	ino = made("f", INODE_ROOT, S_IFREG | 02755, 0);
	req = set(ino, ACL_NAME_ACCESS, 0750, 7);
	req.flags = 4;
	ck_assert_int_eq(world_rc(&w, req), 0);
	ck_assert_uint_eq(look(ino).mode, S_IFREG | 0750);
	world_finish(&w);
}
END_TEST

START_TEST(who_and_where)
{
	struct ms_request req, link = make("l", INODE_ROOT, S_IFLNK | 0777, 077);
	inode_no ino, link_ino;

	begin(true);
	ino = made("f", INODE_ROOT, S_IFREG | 0644, 0);
	link.session = s;
	link.target = world_name("f");
	link_ino = world_do(&w, link)->attr.ino;
	ck_assert_uint_eq(look(link_ino).mode, S_IFLNK | 0777);	/* no umask for links */
	ck_assert_int_eq(world_rc(&w, set(link_ino, ACL_NAME_ACCESS, 0651, 7)), -E_OPNOTSUPP);
	ck_assert_int_eq(world_rc(&w, set(ino, ACL_NAME_DEFAULT, 0651, 7)), -E_ACCES);
	req = set(ino, ACL_NAME_ACCESS, 0651, 7);
	req.caller.uid = OWNER + 1;
	ck_assert_int_eq(world_rc(&w, req), -E_PERM);
	req.caller.uid = 0;
	req.bulk_len -= 1;
	ck_assert_int_eq(world_rc(&w, req), -E_INVAL);
	req.name = world_name("system.other");
	ck_assert_int_eq(world_rc(&w, req), -E_OPNOTSUPP);
	/* One that is not there may be removed. */
	req = (struct ms_request){ .op = MSG_REMOVEXATTR, .session = s, .ino = ino,
				   .name = world_name(ACL_NAME_ACCESS) };
	ck_assert_int_eq(world_rc(&w, req), 0);
	world_finish(&w);

	begin(false);
	ino = made("f", INODE_ROOT, S_IFREG | 0644, 0);
	ck_assert_int_eq(world_rc(&w, set(ino, ACL_NAME_ACCESS, 0651, 7)), -E_OPNOTSUPP);
	world_finish(&w);
}
END_TEST

START_TEST(a_default_list_stands_for_the_umask)
{
	struct acl acl;
	inode_no dir, file, below, plain;

	begin(true);
	dir = made("d", INODE_ROOT, S_IFDIR | 0777, 022);
	ck_assert_uint_eq(look(dir).mode, S_IFDIR | 0755);
	ck_assert_int_eq(world_rc(&w, set(dir, ACL_NAME_DEFAULT, 0770, 7)), 0);
	ck_assert_uint_eq(look(dir).mode, S_IFDIR | 0755);

	file = made("f", dir, S_IFREG | 0666, 077);
	ck_assert_uint_eq(look(file).mode, S_IFREG | 0660);
	ck_assert_int_eq(get(file, ACL_NAME_ACCESS, &acl), 0);
	ck_assert_uint_eq(acl_mode(&acl), 0660);
	ck_assert_int_eq(get(file, ACL_NAME_DEFAULT, &acl), -E_NODATA);

	below = made("d", dir, S_IFDIR | 0777, 077);
	ck_assert_uint_eq(look(below).mode, S_IFDIR | 0770);
	ck_assert_int_eq(get(below, ACL_NAME_DEFAULT, &acl), 0);
	ck_assert_uint_eq(acl_mode(&acl), 0770);
	ck_assert_int_eq(get(below, ACL_NAME_ACCESS, &acl), 0);

	/* A default list of three entries gives a mode, and no list. */
	ck_assert_int_eq(world_rc(&w, set(dir, ACL_NAME_DEFAULT, 0604, -1)), 0);
	plain = made("p", dir, S_IFREG | 0666, 077);
	ck_assert_uint_eq(look(plain).mode, S_IFREG | 0604);
	ck_assert_uint_eq(look(plain).flags, 0);
	world_finish(&w);
}
END_TEST

START_TEST(another_client_gives_its_lease_back_first)
{
	session_no other;
	inode_no ino;

	begin(true);
	other = world_session(&w);
	ino = made("f", INODE_ROOT, S_IFREG | 0644, 0);
	ck_assert_int_eq(world_rc(&w, (struct ms_request){ .op = MSG_GETATTR, .session = other,
							   .ino = ino, .lease = true }),
			 0);
	ck_assert_ptr_null(world_do(&w, set(ino, ACL_NAME_ACCESS, 0651, 7)));
	ck_assert_ptr_nonnull(world_find(&w, MS_FX_RECALL));
	world_finish(&w);
}
END_TEST

TEST_MAIN("acl",
	tcase_add_test(tc, list_and_mode_follow_each_other);
	tcase_add_test(tc, set_group_id_goes_when_the_kernel_says_so);
	tcase_add_test(tc, who_and_where);
	tcase_add_test(tc, a_default_list_stands_for_the_umask);
	tcase_add_test(tc, another_client_gives_its_lease_back_first))
