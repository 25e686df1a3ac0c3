/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas against recounting: random changes of names and contents in a small tree, in which quotas
 * come, change and go, nested at random, while restarts cut what is being counted. Whenever nothing
 * is being counted, every inode must name the quota of its directory (but one that had names in two
 * trees), and each quota must hold exactly what a walk of the names finds.
 */
#include "metadata-server/dir.h"
#include "tests/check_main.h"
#include "tests/ms_world.h"

#define DIRS_MAX  24u
#define STEPS	  1500u
#define NAMES	  6u

static struct world w;
static session_no session;
static uint64_t seed, state;

struct counted {
	inode_no dir;		/* that has the quota */
	uint64_t bytes, files;
};

static struct counted counts[DIRS_MAX];
static uint32_t count_count;
static inode_no dirs[DIRS_MAX], linked[64], ever_linked[STEPS];
static uint32_t dir_count, linked_count, ever_count;

static uint32_t pick(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

static struct ms_inode inode_of(inode_no ino)
{
	struct ms_inode inode;

	ck_assert_int_eq(ms_inode_get(w.txn, ino, &inode), 0);
	return inode;
}

static bool quota_of(inode_no dir, struct ms_quota *out)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, dir);
	const void *value;
	uint32_t len;

	if (ms_txn_get(w.txn, key.bytes, key.len, &value, &len) < 0)
		return false;
	ck_assert_int_eq(ms_key_quota_decode(value, len, out), 0);
	return true;
}

/* --- recounting ------------------------------------------------------------------------------- */

static void charge(inode_no quota, uint64_t bytes)
{
	struct ms_quota q;

	for (uint32_t depth = 0; quota; depth++) {
		uint32_t i = 0;

		ck_assert_msg(depth < DIRS_MAX && quota_of(quota, &q),
			      "seed %llu: an inode is charged to no quota",
			      (unsigned long long)seed);
		while (i < count_count && counts[i].dir != quota)
			i++;
		if (i == count_count)
			counts[count_count++] = (struct counted){ .dir = quota };
		counts[i].bytes += bytes;
		counts[i].files++;
		quota = q.parent;
	}
}

/* An inode of several names is charged once. */
static bool was_seen(const struct ms_inode *inode)
{
	if (ms_inode_is_dir(inode) || inode->attr.nlink == 1)
		return false;
	for (uint32_t i = 0; i < linked_count; i++)
		if (linked[i] == inode->attr.ino)
			return true;
	ck_assert_uint_lt(linked_count, ARRAY_COUNT(linked));
	linked[linked_count++] = inode->attr.ino;
	return false;
}

static bool had_names(const struct ms_inode *inode)
{
	for (uint32_t i = 0; i < ever_count; i++)
		if (ever_linked[i] == inode->attr.ino)
			return true;
	return false;
}

static void look_at(const struct ms_inode *inode, const struct ms_inode *dir)
{
	struct ms_quota own;
	bool has_own = ms_inode_is_dir(inode) && quota_of(inode->attr.ino, &own) && !own.is_ending;
	inode_no want = has_own ? inode->attr.ino : dir->attr.quota;

	ck_assert_msg(inode->attr.quota == want || had_names(inode),
		      "seed %llu: inode %llu names quota %llu, not %llu",
		      (unsigned long long)seed, (unsigned long long)inode->attr.ino,
		      (unsigned long long)inode->attr.quota, (unsigned long long)want);
	if (has_own)
		ck_assert_uint_eq(own.parent, dir->attr.quota);
	if (!was_seen(inode))
		charge(inode->attr.quota,
		       ms_inode_is_file(inode) ? root_data_bytes(&inode->attr.root) : 0);
}

static void walk(inode_no ino)
{
	struct ms_inode dir = inode_of(ino), inode;
	struct ms_dir_slot slot;
	uint64_t hash = 0;

	ck_assert_uint_lt(dir_count, DIRS_MAX);
	dirs[dir_count++] = ino;
	while (ms_dir_next(w.txn, ino, hash, (struct ms_name){ NULL, 0 }, &slot) == 0) {
		hash = slot.hash + 1;
		inode = inode_of(slot.ino);
		look_at(&inode, &dir);
		if (ms_inode_is_dir(&inode))
			walk(slot.ino);
	}
}

static void recount(void)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, 0);
	struct ms_inode root = inode_of(INODE_ROOT), none_above = { .parent = 0 };
	struct row row;
	struct rd r;

	count_count = dir_count = linked_count = 0;
	look_at(&root, &none_above);
	walk(INODE_ROOT);
	while (ms_txn_next(w.txn, key.bytes, key.len, &row) == 0 &&
	       ms_key_is(&row, MS_KEY_QUOTA, &r)) {
		inode_no dir = rd_be64(&r);
		struct counted none = { .dir = dir }, *found = &none;
		struct ms_quota q;

		ck_assert(quota_of(dir, &q));
		for (uint32_t i = 0; i < count_count; i++)
			if (counts[i].dir == dir)
				found = &counts[i];
		ck_assert_msg(q.bytes == found->bytes && q.files == found->files &&
			      (!q.is_ending || q.files > 0),
			      "seed %llu: quota %llu says %llu bytes, %llu files, counted %llu, "
			      "%llu", (unsigned long long)seed, (unsigned long long)dir,
			      (unsigned long long)q.bytes, (unsigned long long)q.files,
			      (unsigned long long)found->bytes, (unsigned long long)found->files);
		key = ms_key_number(MS_KEY_QUOTA, dir + 1);
	}
}

static void settle(void)
{
	for (uint32_t i = 0; i < 50; i++)
		world_tick(&w, 0);
}

/* --- changes ---------------------------------------------------------------------------------- */

static const char *name_of(uint32_t n)
{
	static const char *const names[NAMES] = { "a", "b", "c", "d", "e", "f" };

	return names[n];
}

static inode_no find(inode_no dir, const char *name)
{
	struct ms_dir_slot slot;

	ck_assert_int_eq(ms_dir_find(w.txn, w.config.name_key, dir, world_name(name), &slot), 0);
	return slot.ino;
}

static int make(inode_no dir, const char *name)
{
	bool is_dir = dir_count + 2 < DIRS_MAX && pick(3) == 0;

	return world_rc(&w, world_make(session, dir, name, is_dir ? S_IFDIR | 0755
								  : S_IFREG | 0644));
}

static int publish(inode_no ino)
{
	struct ms_inode inode = inode_of(ino);
	uint64_t data = pick(500), length = data + pick(500) + 1;
	struct ms_request req = { .op = MSG_PUBLISH, .session = session, .ino = ino,
				  .base_version = inode.attr.version,
				  .collection = ms_collection_epoch(w.state),
				  .root = { .kind = ROOT_NODE, .depth = 1, .length = length,
					    .data = data, .id = { { 7 } } } };

	if (!ms_inode_is_file(&inode))
		return 0;
	return world_rc(&w, req);
}

static int truncate_to_nothing(inode_no ino)
{
	struct ms_inode inode = inode_of(ino);

	if (!ms_inode_is_file(&inode))
		return 0;
	return world_rc(&w, (struct ms_request){ .op = MSG_SETATTR, .session = session, .ino = ino,
						 .mask = MS_SET_SIZE });
}

static int set_quota(inode_no dir)
{
	struct ms_request req = { .op = MSG_QUOTA_SET, .ino = dir };

	req.quota_mask = pick(4) == 0 ? MS_QUOTA_CLEAR : MS_QUOTA_BYTES_MAX | MS_QUOTA_FILES_MAX;
	req.size = pick(3) ? 2000 + pick(3000) : 0;
	req.quota_files = pick(3) ? 5 + pick(20) : 0;
	return world_rc(&w, req);
}

static int rename_or_link(inode_no dir, const char *name, inode_no ino)
{
	struct ms_request req = { .op = pick(2) ? MSG_RENAME : MSG_LINK, .session = session,
				  .parent = dir, .name = world_name(name) };

	if (req.op == MSG_LINK) {
		req.ino = ino;
		ever_linked[ever_count++] = ino;
		req.parent = dirs[pick(dir_count)];
		req.name = world_name(name_of(pick(NAMES)));
	} else {
		req.new_parent = dirs[pick(dir_count)];
		req.new_name = world_name(name_of(pick(NAMES)));
		req.flags = pick(4) == 0 ? 2 : 0;	/* exchange */
	}
	return world_rc(&w, req);
}

static int change(void)
{
	inode_no dir = dirs[pick(dir_count)], ino;
	const char *name = name_of(pick(NAMES));
	struct ms_inode inode;

	ino = find(dir, name);
	if (pick(12) == 0)
		return set_quota(dir);
	if (!ino)
		return make(dir, name);
	inode = inode_of(ino);
	switch (pick(6)) {
	case 0:
		return world_rc(&w, world_unlink(session, dir, name, ms_inode_is_dir(&inode)));
	case 1:
		return truncate_to_nothing(ino);
	case 2:
	case 3:
		return rename_or_link(dir, name, ino);
	default:
		return publish(ino);
	}
}

/* Directories that are there now; removed ones must not be named again. */
static void dirs_again(inode_no ino)
{
	struct ms_dir_slot slot;
	uint64_t hash = 0;

	dirs[dir_count++] = ino;
	while (ms_dir_next(w.txn, ino, hash, (struct ms_name){ NULL, 0 }, &slot) == 0) {
		hash = slot.hash + 1;
		if (S_ISDIR(slot.type))
			dirs_again(slot.ino);
	}
}

static void run_seed(uint64_t number)
{
	uint32_t refused = 0, crossed = 0;

	seed = state = number;
	world_init(&w);
	session = world_session(&w);
	dir_count = ever_count = 0;
	dirs_again(INODE_ROOT);
	for (uint32_t i = 0; i < STEPS; i++) {
		int rc = change();

		refused += rc == -E_DQUOT;
		crossed += rc == -E_XDEV;
		dir_count = 0;
		dirs_again(INODE_ROOT);
		if (pick(5) == 0)
			world_tick(&w, 0);
		if (pick(200) == 0) {
			world_restart(&w);
			world_tick(&w, 2 * WORLD_LEASE_MS);
			session = world_session(&w);
		}
		if (pick(20) == 0) {
			settle();
			recount();
		}
		if (w.session_count + 1 == WORLD_SESSIONS_MAX)
			break;
	}
	settle();
	recount();
	ck_assert_msg(refused > 0 && crossed > 0,
		      "seed %llu tested too little: %u refused, %u crossed",
		      (unsigned long long)number, refused, crossed);
	world_finish(&w);
}

START_TEST(usage_is_what_recounting_finds)
{
	for (uint64_t number = 1; number <= 12; number++)
		run_seed(number);
}
END_TEST

TEST_MAIN("quota", tcase_set_timeout(tc, 120); tcase_add_test(tc, usage_is_what_recounting_finds))
