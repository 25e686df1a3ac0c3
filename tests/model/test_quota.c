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

#define DIRS_MAX  64u
#define DIRS_MADE 24u
#define KEEP_MS	  5000u
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
static inode_no dirs[DIRS_MAX], ever_linked[STEPS], unnamed[STEPS];
static uint32_t dir_count, ever_count, unnamed_count;

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
}

/* Also what lies in a trash, is open without a name, or is no more than the part of a clone. */
static void charge_all(void)
{
	struct ms_key key = ms_key_number(MS_KEY_INODE, 0);
	struct ms_inode inode;
	struct row row;
	struct rd r;

	while (ms_txn_next(w.txn, key.bytes, key.len, &row) == 0 &&
	       ms_key_is(&row, MS_KEY_INODE, &r)) {
		inode_no ino = rd_be64(&r);

		inode = inode_of(ino);
		charge(inode.attr.quota,
		       ms_inode_is_file(&inode) ? root_data_bytes(&inode.attr.root) : 0);
		key = ms_key_number(MS_KEY_INODE, ino + 1);
	}
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

	count_count = dir_count = 0;
	look_at(&root, &none_above);
	walk(INODE_ROOT);
	charge_all();
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
	bool is_dir = dir_count + 2 < DIRS_MADE && pick(3) == 0;

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

/* O_TMPFILE; some are closed, and some get a name first. */
static int make_unnamed(inode_no dir)
{
	struct ms_request req = { .op = MSG_MAKE, .session = session, .parent = dir,
				  .mode = S_IFREG | 0600, .open = true, .unnamed = true };
	const struct ms_reply *reply = world_do(&w, req);

	if (reply->rc == 0)
		unnamed[unnamed_count++] = reply->attr.ino;
	return reply->rc;
}

static int end_unnamed(inode_no dir, const char *name)
{
	inode_no ino = unnamed[--unnamed_count];
	struct ms_request req = { .op = MSG_LINK, .session = session, .ino = ino, .parent = dir,
				  .name = world_name(name) };
	int rc = pick(2) ? publish(ino) : 0;

	if (rc == 0)
		rc = world_rc(&w, req);
	if (rc == 0)
		ever_linked[ever_count++] = ino;
	(void)world_rc(&w, world_release(session, ino));
	return rc;
}

/* The reply, once every lease in the way was given back. */
static struct ms_reply settled(struct ms_request req)
{
	const struct ms_reply *reply = world_do(&w, req);
	uint64_t token = w.token;

	if (!reply) {
		world_answer_all(&w);
		reply = world_reply(&w, token);
	}
	return reply ? *reply : (struct ms_reply){ .rc = -E_BUSY };
}

/* The first that lies there comes back, or all goes. */
static int use_trash(inode_no dir, const char *name)
{
	struct ms_request req = { .op = MSG_TRASH_LIST, .session = session, .ino = dir };
	const struct ms_reply *reply = world_do(&w, req);

	req.op = MSG_TRASH;
	req.keep_ms = KEEP_MS;
	req.action = pick(4) ? MS_TRASH_ENABLE : MS_TRASH_DISABLE;
	if (reply->rc == 0 && pick(3)) {
		req.keep_ms = 0;
		req.action = MS_TRASH_EMPTY;
	}
	if (reply->rc == 0 && reply->entry_count && pick(3)) {
		req.action = MS_TRASH_RESTORE;
		req.tree = reply->attr.ino;
		req.ino = reply->entries[0].ino;
		req.time_ns = reply->entries[0].cookie;
		req.parent = dir;
		req.name = world_name(name);
	}
	return settled(req).rc;
}

static int clone(inode_no from, inode_no dir, const char *name)
{
	struct ms_request req = { .op = MSG_CLONE, .session = session, .ticket = 1, .ino = from,
				  .parent = dir, .name = world_name(name),
				  .action = MS_CLONE_BEGIN };
	struct ms_reply reply = settled(req);

	req.ino = reply.attr.ino;
	req.action = MS_CLONE_STEP;
	while (reply.rc == 0 && !reply.end) {
		if (pick(8) == 0)
			return 0;		/* nobody goes on with it */
		reply = settled(req);
	}
	req.action = pick(4) ? MS_CLONE_SHOW : MS_CLONE_DROP;
	return reply.rc == 0 ? settled(req).rc : reply.rc;
}

static int change_more(inode_no dir, const char *name)
{
	inode_no from = dirs[pick(dir_count)];

	switch (pick(5)) {
	case 0:
		return make_unnamed(dir);
	case 1:
		return unnamed_count ? end_unnamed(dir, name) : 0;
	case 2:
		return dir_count < 12 ? clone(from, dir, name) : 0;
	default:
		return use_trash(dir, name);
	}
}

static int change(void)
{
	inode_no dir = dirs[pick(dir_count)], ino;
	const char *name = name_of(pick(NAMES));
	struct ms_inode inode;

	ino = find(dir, name);
	if (pick(12) == 0)
		return set_quota(dir);
	if (pick(6) == 0)
		return change_more(dir, name);
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

static void pass_time(void)
{
	(void)world_rc(&w, (struct ms_request){ .op = MSG_SESSION_RENEW, .session = session });
	w.wall_ns += UINT64_C(300000000);
	world_tick(&w, 300);
}

static void run_seed(uint64_t number)
{
	uint32_t refused = 0, crossed = 0;

	seed = state = number;
	world_init(&w);
	session = world_session(&w);
	dir_count = ever_count = unnamed_count = 0;
	dirs_again(INODE_ROOT);
	for (uint32_t i = 0; i < STEPS; i++) {
		int rc = change();

		refused += rc == -E_DQUOT;
		crossed += rc == -E_XDEV;
		dir_count = 0;
		dirs_again(INODE_ROOT);
		if (pick(5) == 0)
			pass_time();
		if (pick(200) == 0) {
			world_restart(&w);
			world_tick(&w, 2 * WORLD_LEASE_MS);
			session = world_session(&w);
			unnamed_count = 0;
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

static int quota_rc(inode_no dir, uint32_t mask)
{
	return world_rc(&w, (struct ms_request){ .op = MSG_QUOTA_SET, .ino = dir,
						 .quota_mask = mask, .quota_files = 1000 });
}

START_TEST(a_quota_that_returns_while_it_ends_is_below_what_is_above_it_then)
{
	struct ms_quota q;
	inode_no outer, inner;
	char name[16];

	seed = state = 0;
	ever_count = 0;
	world_init(&w);
	session = world_session(&w);
	outer = world_made(&w, session, INODE_ROOT, "outer", S_IFDIR | 0755);
	inner = world_made(&w, session, outer, "inner", S_IFDIR | 0755);
	for (uint32_t i = 0; i < 600; i++) {
		(void)snprintf(name, sizeof name, "%u", i);
		(void)world_made(&w, session, inner, name, S_IFREG | 0644);
	}
	ck_assert_int_eq(quota_rc(outer, MS_QUOTA_FILES_MAX), 0);
	ck_assert_int_eq(quota_rc(inner, MS_QUOTA_FILES_MAX), 0);
	settle();
	ck_assert_int_eq(quota_rc(inner, MS_QUOTA_CLEAR), 0);
	ck_assert_int_eq(quota_rc(outer, MS_QUOTA_CLEAR), 0);
	world_tick(&w, 0);		/* outer was walked, inner in part */
	ck_assert_int_eq(quota_rc(inner, MS_QUOTA_FILES_MAX), 0);
	settle();
	ck_assert(!quota_of(outer, &q));
	ck_assert(quota_of(inner, &q));
	ck_assert_uint_eq(q.parent, 0);
	ck_assert_uint_eq(q.files, 601);
	recount();
	world_finish(&w);
}
END_TEST

TEST_MAIN("quota", tcase_set_timeout(tc, 120); tcase_add_test(tc, usage_is_what_recounting_finds);
	  tcase_add_test(tc, a_quota_that_returns_while_it_ends_is_below_what_is_above_it_then))
