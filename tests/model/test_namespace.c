/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata server against a toy tree: three sessions make, link, rename, unlink, open, close
 * and publish at random, send requests twice, and the server restarts now and then. After each
 * operation the results agree; now and then everything is compared. At the end the journal replays
 * to the same rows.
 */
#include "tests/ms_world.h"

#include "tests/check_main.h"

#define TOY_NODES_MAX 256u
#define TOY_NAMES_MAX 512u
#define TOY_SESSIONS  3u
#define OPERATIONS    3000u

struct toy_node {
	inode_no ino;		/* 0: free */
	bool is_dir;
	uint32_t nlink;
	inode_no parent;	/* of a directory */
	char text[32];
	uint32_t opens[TOY_SESSIONS];
};

struct toy_name {
	inode_no dir;		/* 0: free */
	char name[2];
	inode_no ino;
};

static struct world w;
static struct toy_node nodes[TOY_NODES_MAX];
static struct toy_name names[TOY_NAMES_MAX];
static uint64_t random_state;

static uint32_t pick(uint32_t below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % below;
}

/* --- the toy ---------------------------------------------------------------------------------- */

static struct toy_node *node_of(inode_no ino)
{
	for (uint32_t i = 0; i < TOY_NODES_MAX; i++)
		if (nodes[i].ino == ino)
			return &nodes[i];
	return NULL;
}

static struct toy_name *name_of(inode_no dir, const char *name)
{
	for (uint32_t i = 0; i < TOY_NAMES_MAX; i++)
		if (names[i].dir == dir && names[i].name[0] == name[0])
			return &names[i];
	return NULL;
}

static bool is_empty(inode_no dir)
{
	for (uint32_t i = 0; i < TOY_NAMES_MAX; i++)
		if (names[i].dir == dir)
			return false;
	return true;
}

static bool is_open(const struct toy_node *n)
{
	uint32_t opens = 0;

	for (uint32_t s = 0; s < TOY_SESSIONS; s++)
		opens += n->opens[s];
	return opens > 0;
}

static void free_if_dead(struct toy_node *n)
{
	if (n->nlink == 0 && !is_open(n))
		*n = (struct toy_node){ 0 };
}

static struct toy_node *add_node(inode_no ino, bool is_dir, inode_no parent)
{
	struct toy_node *n = node_of(0);

	ck_assert_ptr_nonnull(n);
	*n = (struct toy_node){ .ino = ino, .is_dir = is_dir, .nlink = is_dir ? 2 : 1,
				.parent = parent };
	return n;
}

static void add_name(inode_no dir, const char *name, inode_no ino)
{
	struct toy_name *n = name_of(0, "");

	ck_assert_ptr_nonnull(n);
	*n = (struct toy_name){ .dir = dir, .name = { name[0] }, .ino = ino };
}

static bool is_below(inode_no dir, inode_no ancestor)
{
	for (; dir != ancestor; dir = node_of(dir)->parent)
		if (dir == INODE_ROOT)
			return false;
	return true;
}

static inode_no pick_dir(void)
{
	for (;;) {
		const struct toy_node *n = &nodes[pick(TOY_NODES_MAX)];

		if (n->ino && n->is_dir && n->nlink)
			return n->ino;
	}
}

static struct toy_node *pick_file(void)
{
	for (uint32_t i = 0; i < 1000; i++) {
		struct toy_node *n = &nodes[pick(TOY_NODES_MAX)];

		if (n->ino && !n->is_dir)
			return n;
	}
	return NULL;
}

static const char *pick_name(void)
{
	static const char all[][2] = { "a", "b", "c", "d", "e", "f" };

	return all[pick(ARRAY_COUNT(all))];
}

static uint32_t node_count(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < TOY_NODES_MAX; i++)
		count += nodes[i].ino != 0;
	return count;
}

/* --- the server ------------------------------------------------------------------------------- */

/* Run to its end, whoever has to give back leases for it. */
static const struct ms_reply *finish(struct ms_request req)
{
	const struct ms_reply *reply = world_do(&w, req);
	uint64_t token = w.token;

	for (uint32_t rounds = 0; !reply; rounds++) {
		struct ms_effect recalls[64];
		uint32_t count = 0;

		ck_assert_uint_lt(rounds, 10);
		for (uint32_t i = 0; i < w.effect_count && count < 64; i++)
			if (w.effects[i].kind == MS_FX_RECALL)
				recalls[count++] = w.effects[i];
		ck_assert_uint_gt(count, 0);
		for (uint32_t i = 0; i < count && !reply; i++) {
			world_answer(&w, recalls[i], MS_LEASE_NONE);
			reply = world_reply(&w, token);
		}
	}
	return reply;
}

/* A mutation; now and then sent twice. The reply is the last one's. */
static const struct ms_reply *mutate(uint32_t s, struct ms_request req)
{
	const struct ms_reply *reply;
	int rc;

	req.session = w.sessions[s];
	req.slot = pick(4);
	req.slot_seq = ++w.seqs[s];
	reply = finish(req);
	rc = reply->rc;
	if (pick(4) == 0) {
		reply = finish(req);
		ck_assert(reply->resent);
		ck_assert_int_eq(reply->rc, rc);
	}
	return reply;
}

/* --- one operation of each kind --------------------------------------------------------------- */

static void do_make(uint32_t s)
{
	bool is_dir = pick(3) == 0, exclusive = pick(2);
	inode_no dir = pick_dir();
	const char *name = pick_name();
	struct toy_name *old = name_of(dir, name);
	struct ms_request req = world_make(0, dir, name, is_dir ? S_IFDIR | 0755 : S_IFREG | 0644);
	const struct ms_reply *reply;
	int want = 0;

	if (node_count() + 8 > TOY_NODES_MAX)
		return;
	req.exclusive = exclusive;
	if (old && (exclusive || is_dir))
		want = -E_EXIST;
	else if (old && node_of(old->ino)->is_dir)
		want = -E_ISDIR;
	reply = mutate(s, req);
	ck_assert_int_eq(reply->rc, want);
	if (want < 0)
		return;
	if (old) {
		ck_assert_uint_eq(reply->attr.ino, old->ino);
		return;
	}
	ck_assert_ptr_null(node_of(reply->attr.ino));
	add_node(reply->attr.ino, is_dir, dir);
	add_name(dir, name, reply->attr.ino);
	node_of(dir)->nlink += is_dir;
}

static void do_link(uint32_t s)
{
	struct toy_node *file = pick_file();
	inode_no dir = pick_dir();
	const char *name = pick_name();
	struct ms_request req = { .op = MSG_LINK, .parent = dir, .name = world_name(name) };
	int want = 0;

	if (!file)
		return;
	req.ino = file->ino;
	if (name_of(dir, name))
		want = -E_EXIST;
	else if (file->nlink == 0)
		want = -E_NOENT;
	ck_assert_int_eq(mutate(s, req)->rc, want);
	if (want < 0)
		return;
	file->nlink++;
	add_name(dir, name, file->ino);
}

static void do_unlink(uint32_t s)
{
	inode_no dir = pick_dir();
	const char *name = pick_name();
	bool directory = pick(3) == 0;
	struct toy_name *n = name_of(dir, name);
	struct toy_node *victim = n ? node_of(n->ino) : NULL;
	int want = 0;

	if (!n)
		want = -E_NOENT;
	else if (victim->is_dir && !directory)
		want = -E_ISDIR;
	else if (!victim->is_dir && directory)
		want = -E_NOTDIR;
	else if (victim->is_dir && !is_empty(victim->ino))
		want = -E_NOTEMPTY;
	ck_assert_int_eq(mutate(s, world_unlink(0, dir, name, directory))->rc, want);
	if (want < 0)
		return;
	victim->nlink = directory ? 0 : victim->nlink - 1;
	node_of(dir)->nlink -= directory;
	*n = (struct toy_name){ 0 };
	free_if_dead(victim);
}

static int rename_result(const struct toy_name *from, const struct toy_name *to, inode_no from_dir,
			 inode_no to_dir, uint32_t flags)
{
	const struct toy_node *moved = from ? node_of(from->ino) : NULL;
	const struct toy_node *target = to ? node_of(to->ino) : NULL;

	if (!from || (flags == 2 && !to))
		return -E_NOENT;
	if (to && flags == 1)
		return -E_EXIST;
	if (moved == target)
		return 0;
	if (moved->is_dir && is_below(to_dir, moved->ino))
		return -E_INVAL;
	if (flags == 2 && target->is_dir && is_below(from_dir, target->ino))
		return -E_INVAL;
	if (flags == 2 || !target)
		return 0;
	if (moved->is_dir && !target->is_dir)
		return -E_NOTDIR;
	if (!moved->is_dir && target->is_dir)
		return -E_ISDIR;
	return target->is_dir && !is_empty(target->ino) ? -E_NOTEMPTY : 0;
}

static void move_parent(struct toy_node *n, inode_no from, inode_no to)
{
	if (!n->is_dir || from == to)
		return;
	node_of(from)->nlink--;
	node_of(to)->nlink++;
	n->parent = to;
}

static void do_rename(uint32_t s)
{
	inode_no from_dir = pick_dir(), to_dir = pick_dir();
	const char *from_name = pick_name(), *to_name = pick_name();
	struct toy_name *from = name_of(from_dir, from_name), *to = name_of(to_dir, to_name);
	struct ms_request req = world_rename(0, from_dir, from_name, to_dir, to_name);
	struct toy_node *moved, *target;
	int want;

	req.flags = pick(3);
	want = rename_result(from, to, from_dir, to_dir, req.flags);
	ck_assert_int_eq(mutate(s, req)->rc, want);
	if (want < 0 || (to && from->ino == to->ino))
		return;
	moved = node_of(from->ino);
	target = to ? node_of(to->ino) : NULL;
	move_parent(moved, from_dir, to_dir);
	if (req.flags == 2) {
		move_parent(target, to_dir, from_dir);
		from->ino = target->ino;
		to->ino = moved->ino;
		return;
	}
	*from = (struct toy_name){ 0 };
	if (!to) {
		add_name(to_dir, to_name, moved->ino);
		return;
	}
	to->ino = moved->ino;
	target->nlink = target->is_dir ? 0 : target->nlink - 1;
	node_of(to_dir)->nlink -= target->is_dir;
	free_if_dead(target);
}

static void do_open_or_close(uint32_t s)
{
	struct toy_node *file = pick_file();
	struct ms_request req;

	if (!file)
		return;
	if (pick(2)) {
		req = world_open(w.sessions[s], file->ino, pick(2));
		ck_assert_int_eq(finish(req)->rc, 0);
		file->opens[s]++;
	} else if (file->opens[s]) {
		ck_assert_int_eq(finish(world_release(w.sessions[s], file->ino))->rc, 0);
		file->opens[s]--;
		free_if_dead(file);
	}
}

static void do_publish(uint32_t s)
{
	struct toy_node *file = pick_file();
	const struct ms_reply *reply;
	char text[32];
	int want = 0;
	uint64_t base;

	if (!file)
		return;
	base = finish(world_getattr(w.sessions[s], file->ino))->attr.version;
	if (pick(8) == 0) {
		base--;
		want = -E_STALE_VERSION;
	}
	snprintf(text, sizeof text, "%.*s", (int)pick(30), "abcdefghijklmnopqrstuvwxyz0123456789");
	reply = mutate(s, world_publish(0, file->ino, base, text));
	ck_assert_int_eq(reply->rc, want);
	if (want == 0)
		memcpy(file->text, text, sizeof text);
}

/* All come back with what they have open. */
static void do_restart(void)
{
	world_restart(&w);
	for (uint32_t s = 0; s < TOY_SESSIONS; s++) {
		struct ms_request req = { .op = MSG_SESSION_RECLAIM, .session = w.sessions[s] };
		inode_no opens[1024];

		for (uint32_t i = 0; i < TOY_NODES_MAX; i++)
			for (uint32_t k = 0; k < nodes[i].opens[s] && req.open_count < 1024; k++)
				opens[req.open_count++] = nodes[i].ino;
		req.opens = opens;
		ck_assert_int_eq(world_rc(&w, req), 0);
	}
}

/* --- comparing everything --------------------------------------------------------------------- */

static void compare_dir(const struct toy_node *dir)
{
	struct ms_request req = { .op = MSG_READDIR, .session = w.sessions[0], .ino = dir->ino,
				  .attributes = pick(2) };
	const struct ms_reply *reply = finish(req);
	uint32_t want = 0;

	ck_assert_int_eq(reply->rc, 0);
	ck_assert(reply->end);
	ck_assert_uint_eq(reply->parent_ino, dir->parent);
	for (uint32_t i = 0; i < TOY_NAMES_MAX; i++)
		want += names[i].dir == dir->ino;
	ck_assert_uint_eq(reply->entry_count, want);
	for (uint32_t i = 0; i < want; i++) {
		char name[2] = { (char)reply->entries[i].name.bytes[0] };
		const struct toy_name *n = name_of(dir->ino, name);

		ck_assert_ptr_nonnull(n);
		ck_assert_uint_eq(reply->entries[i].ino, n->ino);
		ck_assert_int_eq(S_ISDIR(reply->entries[i].type), node_of(n->ino)->is_dir);
	}
}

static void compare_file(const struct toy_node *file)
{
	const struct ms_reply *reply;
	struct ms_attr attr;

	attr = finish(world_getattr(w.sessions[pick(TOY_SESSIONS)], file->ino))->attr;
	ck_assert_uint_eq(attr.nlink, file->nlink);
	ck_assert_uint_eq(attr.size, strlen(file->text));
	if (attr.size == 0)
		return;
	reply = finish((struct ms_request){ .op = MSG_GET_INLINE, .session = w.sessions[0],
					    .ino = file->ino, .base_version = attr.version });
	ck_assert_int_eq(reply->rc, 0);
	ck_assert_mem_eq(reply->bulk, file->text, attr.size);
}

static void compare(void)
{
	uint64_t files = 0, directories = 0, bytes = 0;
	struct ms_counts counts;

	for (uint32_t i = 0; i < TOY_NODES_MAX; i++) {
		if (!nodes[i].ino)
			continue;
		if (nodes[i].is_dir) {
			compare_dir(&nodes[i]);
			ck_assert_uint_eq(
				finish(world_getattr(w.sessions[0], nodes[i].ino))->attr.nlink,
				nodes[i].nlink);
		} else {
			compare_file(&nodes[i]);
		}
		files += !nodes[i].is_dir;
		directories += nodes[i].is_dir;
		bytes += strlen(nodes[i].text);
	}
	ms_state_counts(w.state, &counts);
	ck_assert_uint_eq(counts.files, files);
	ck_assert_uint_eq(counts.directories, directories);
	ck_assert_uint_eq(counts.bytes_logical, bytes);
	ck_assert_uint_eq(counts.parked, 0);
}

static void do_server(uint32_t s)
{
	(void)s;
	if (pick(8) == 0)
		do_restart();
	else if (pick(2))
		world_flush(&w);
}

static void operate(void)
{
	static void (*const kinds[])(uint32_t s) = {
		/* as often as they are named */
		do_make,	  do_make,	    do_make,	do_make,
		do_link,	  do_unlink,	    do_unlink,	do_unlink,
		do_rename,	  do_rename,	    do_rename,	do_open_or_close,
		do_open_or_close, do_open_or_close, do_publish, do_server};

	kinds[pick(ARRAY_COUNT(kinds))](pick(TOY_SESSIONS));
}

START_TEST(random_operations_agree_with_a_toy_tree)
{
	random_state = (uint64_t)_i * 7919 + 1;
	memset(nodes, 0, sizeof nodes);
	memset(names, 0, sizeof names);
	world_init(&w);
	for (uint32_t s = 0; s < TOY_SESSIONS; s++)
		world_session(&w);
	add_node(INODE_ROOT, true, INODE_ROOT);
	for (uint32_t i = 0; i < OPERATIONS; i++) {
		operate();
		if (i % 250 == 0)
			compare();
	}
	compare();
	world_finish(&w);
}
END_TEST

TEST_MAIN("namespace-model",
	  tcase_add_loop_test(tc, random_operations_agree_with_a_toy_tree, 0, check_seeds(8)))
