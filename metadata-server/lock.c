/* SPDX-License-Identifier: Apache-2.0 */
/* Locks: owners, what they hold, requests; see lock.h. Waiting is in lock_wait.c. */
#include "metadata-server/lock_internal.h"

#include <stdlib.h>

/* --- who and what ----------------------------------------------------------------------------- */

static struct lock_session *session_find(struct ms_locks *t, session_no number)
{
	struct lock_session *s;

	HASH_FIND(hh, t->sessions, &number, sizeof number, s);
	return s;
}

static struct lock_session *session_make(struct ms_locks *t, session_no number)
{
	struct lock_session *s = session_find(t, number);

	if (s || !(s = calloc(1, sizeof *s)))
		return s;
	s->number = number;
	HASH_ADD(hh, t->sessions, number, sizeof s->number, s);
	if (!s->hh.tbl) {
		free(s);
		return NULL;
	}
	return s;
}

static void session_settle(struct ms_locks *t, struct lock_session *s)
{
	if (s->owners)
		return;
	HASH_DEL(t->sessions, s);
	free(s);
}

static struct lock_owner *owner_find(const struct ms_locks *t, const struct ms_lock_key *key)
{
	struct lock_owner *o;

	HASH_FIND(hh, t->owners, key, sizeof *key, o);
	return o;
}

static struct lock_owner *owner_make(struct ms_locks *t, const struct ms_lock_key *key)
{
	struct lock_owner *o = owner_find(t, key);
	struct lock_session *s = o ? o->session : session_make(t, key->session);

	if (o || !s)
		return o;
	o = calloc(1, sizeof *o);
	if (o) {
		o->key = *key;
		HASH_ADD(hh, t->owners, key, sizeof o->key, o);
	}
	if (!o || !o->hh.tbl) {
		free(o);
		session_settle(t, s);
		return NULL;
	}
	o->session = s;
	DL_APPEND(s->owners, o);
	return o;
}

static struct lock_file *file_find(const struct ms_locks *t, inode_no ino)
{
	struct lock_file *f;

	HASH_FIND(hh, t->files, &ino, sizeof ino, f);
	return f;
}

static struct lock_file *file_make(struct ms_locks *t, inode_no ino)
{
	struct lock_file *f = file_find(t, ino);

	if (f || !(f = calloc(1, sizeof *f)))
		return f;
	f->ino = ino;
	HASH_ADD(hh, t->files, ino, sizeof f->ino, f);
	if (!f->hh.tbl) {
		free(f);
		return NULL;
	}
	return f;
}

void ms_lock_settle(struct ms_locks *t, struct lock_file *file, struct lock_owner *owner)
{
	if (file && !file->holders && !file->waits) {
		HASH_DEL(t->files, file);
		free(file);
	}
	if (owner && !owner->holders && !owner->waits) {
		struct lock_session *s = owner->session;

		DL_DELETE(s->owners, owner);
		HASH_DEL(t->owners, owner);
		free(owner);
		session_settle(t, s);
	}
}

/* --- holding ---------------------------------------------------------------------------------- */

/* Along both lists at once: the owner may have many files, or the file many owners, rarely both. */
static struct lock_holder *holder_find(const struct lock_file *file, const struct lock_owner *owner)
{
	struct lock_holder *a = file->holders, *b = owner->holders;

	for (; a && b; a = a->next, b = b->owner_next) {
		if (a->owner == owner)
			return a;
		if (b->file == file)
			return b;
	}
	return NULL;
}

static struct lock_holder *holder_make(struct lock_file *file, struct lock_owner *owner)
{
	struct lock_holder *h = holder_find(file, owner);

	if (h || !(h = calloc(1, sizeof *h)))
		return h;
	h->file = file;
	h->owner = owner;
	DL_APPEND(file->holders, h);
	DL_APPEND2(owner->holders, h, owner_prev, owner_next);
	return h;
}

static void holder_settle(struct lock_holder *h)
{
	if (h->ranges.count)
		return;
	DL_DELETE(h->file->holders, h);
	DL_DELETE2(h->owner->holders, h, owner_prev, owner_next);
	free(h);
}

/* The number of ranges was `before`. */
static void holder_count(struct ms_locks *t, struct lock_holder *h, uint32_t before)
{
	t->held += h->ranges.count;
	t->held -= before;
	h->owner->session->count += h->ranges.count;
	h->owner->session->count -= before;
}

int ms_lock_apply(struct ms_locks *t, struct lock_file *file, struct lock_owner *owner,
	       const struct range *r)
{
	struct lock_holder *h = r->mode == RANGE_NONE ? holder_find(file, owner) :
							holder_make(file, owner);
	uint32_t before;
	int rc;

	if (!h)
		return r->mode == RANGE_NONE ? 0 : -E_NOMEM;
	before = h->ranges.count;
	rc = ranges_set(&h->ranges, r->start, r->end, r->mode);
	holder_count(t, h, before);
	holder_settle(h);
	return rc;
}

static void holder_drop(struct ms_locks *t, struct lock_holder *h)
{
	uint32_t before = h->ranges.count;

	ranges_clear(&h->ranges);
	holder_count(t, h, before);
	holder_settle(h);
}

/* --- requests --------------------------------------------------------------------------------- */

/* Is there room for as many as a request may add? An unlock adds one where it splits a range. */
static bool has_room(const struct ms_locks *t, const struct lock_file *file,
		     const struct lock_owner *owner, const struct ms_lock_request *r)
{
	const struct lock_holder *h = holder_find(file, owner);
	uint32_t session_max = t->limits.session_max << r->is_claim;

	if (r->mode == RANGE_NONE && !(h && ranges_would_split(&h->ranges, r->start, r->end)))
		return true;
	return owner->session->count + 2 <= session_max &&
	       t->held + t->waiting + 2 <= t->limits.all_max;
}

/* flock(2) gives up a lock of another mode before it asks for the new one. */
static void convert(struct ms_locks *t, struct lock_file *file, struct lock_owner *owner,
		    const struct range *r)
{
	struct lock_holder *h = holder_find(file, owner);

	if (owner->key.kind != MS_LOCK_FLOCK || !h || h->ranges.first->mode == r->mode)
		return;
	holder_drop(t, h);
	ms_lock_wake(t, file);
}

static int set(struct ms_locks *t, struct lock_file *file, struct lock_owner *owner,
	       const struct ms_lock_request *r)
{
	const struct range range = { .start = r->start, .end = r->end, .mode = r->mode };
	int rc;

	if (!has_room(t, file, owner, r))
		return -E_NOLCK;
	if (r->mode != RANGE_NONE) {
		convert(t, file, owner, &range);
		if (ms_lock_blocker(file, owner, &range, NULL)) {
			if (!r->wait)
				return -E_AGAIN;
			if (r->key.kind == MS_LOCK_POSIX && !r->may_cycle &&
			    ms_lock_closes_cycle(t, file, owner, &range))
				return -E_DEADLK;
			return ms_lock_enqueue(t, file, owner, r);
		}
		if (r->wait && !r->holds && !ms_lock_has_turn(file, owner, &range, NULL))
			return ms_lock_enqueue(t, file, owner, r);
	}
	rc = ms_lock_apply(t, file, owner, &range);
	if (rc == 0)
		ms_lock_wake(t, file);	/* it may be less than before */
	return rc;
}

int ms_locks_set(struct ms_locks *t, const struct ms_lock_request *r)
{
	struct lock_file *file;
	struct lock_owner *owner;
	int rc = -E_NOMEM;

	if (!range_is_valid(r->start, r->end))
		return -E_INVAL;
	if (r->wait && ms_lock_wait_find(t, r->key.session, r->wait))
		return MS_LOCK_QUEUED;
	if (r->mode == RANGE_NONE && !owner_find(t, &r->key))
		return 0;
	file = file_make(t, r->ino);
	owner = file ? owner_make(t, &r->key) : NULL;
	if (owner) {
		owner->pid = r->pid ? r->pid : owner->pid;
		rc = set(t, file, owner, r);
	}
	if (file)
		ms_lock_settle(t, file, owner);
	return rc;
}

static void info_fill(struct ms_lock_info *out, const struct lock_owner *owner, inode_no ino,
		      const struct range *r)
{
	*out = (struct ms_lock_info){ .key = owner->key, .ino = ino, .start = r->start,
				      .end = r->end, .mode = r->mode, .pid = owner->pid };
}

bool ms_locks_test(const struct ms_locks *t, const struct ms_lock_request *r,
		   struct ms_lock_info *out)
{
	const struct lock_file *file = file_find(t, r->ino);
	struct lock_owner nobody = { .key = r->key };
	const struct lock_owner *owner = owner_find(t, &r->key), *other;
	const struct range range = { .start = r->start, .end = r->end, .mode = r->mode };
	struct range at;

	other = file ? ms_lock_blocker(file, owner ? owner : &nobody, &range, &at) : NULL;
	if (other)
		info_fill(out, other, r->ino, &at);
	return other != NULL;
}

int ms_locks_claim(struct ms_locks *t, const struct ms_lock_request *r)
{
	struct ms_lock_request claim = *r;
	int rc;

	claim.wait = 0;
	claim.is_claim = true;
	rc = ms_locks_set(t, &claim);
	return rc == -E_AGAIN ? -E_NO_LEASE : rc;
}

int ms_locks_take(struct ms_locks *t, session_no session, uint64_t wait)
{
	struct lock_wait *w = ms_lock_wait_find(t, session, wait);
	int rc;

	if (!w || !w->is_granted)
		return 0;
	struct lock_file *file = w->file;
	struct lock_owner *owner = w->owner;
	const struct range range = { .start = w->start, .end = w->end, .mode = w->mode };

	if (w->pid)
		owner->pid = w->pid;
	rc = ms_lock_apply(t, file, owner, &range);
	if (rc < 0)
		return rc;
	ms_lock_wait_end(t, w);
	ms_lock_wake(t, file);
	ms_lock_settle(t, file, owner);
	return 0;
}

void ms_locks_cancel(struct ms_locks *t, session_no session, uint64_t wait)
{
	struct lock_wait *w = ms_lock_wait_find(t, session, wait);

	if (!w)
		return;
	struct lock_file *file = w->file;
	struct lock_owner *owner = w->owner;

	ms_lock_wait_end(t, w);
	ms_lock_wake(t, file);
	ms_lock_settle(t, file, owner);
}

void ms_locks_tell(struct ms_locks *t, session_no session)
{
	const struct lock_session *s = session_find(t, session);
	const struct lock_owner *o;
	const struct lock_wait *w;

	if (!s)
		return;
	DL_FOREACH(s->owners, o)
		DL_FOREACH2(o->waits, w, owner_next)
			if (w->is_granted)
				t->granted(t->arg, session, w->key.number);
}

/* What waits first, so that nothing it holds is set aside for the session that goes. */
void ms_locks_drop_session(struct ms_locks *t, session_no session)
{
	struct lock_session *s = session_find(t, session);
	struct lock_owner *o, *next;

	if (!s)
		return;
	DL_FOREACH(s->owners, o)
		while (o->waits) {
			struct lock_file *file = o->waits->file;

			ms_lock_wait_end(t, o->waits);
			ms_lock_wake(t, file);
			ms_lock_settle(t, file, NULL);
		}
	DL_FOREACH_SAFE(s->owners, o, next) {
		while (o->holders) {
			struct lock_file *file = o->holders->file;

			holder_drop(t, o->holders);
			ms_lock_wake(t, file);
			ms_lock_settle(t, file, NULL);
		}
		ms_lock_settle(t, NULL, o);	/* with the last goes the session */
	}
}

/* --- reports ---------------------------------------------------------------------------------- */

void ms_locks_counts(const struct ms_locks *t, struct ms_lock_counts *out)
{
	*out = (struct ms_lock_counts){ .held = t->held, .waiting = t->waiting,
					.sessions = HASH_COUNT(t->sessions) };
}

static bool list_file(const struct lock_file *file,
		      bool (*fn)(void *arg, const struct ms_lock_info *info), void *arg)
{
	const struct lock_holder *h;
	const struct lock_wait *w;
	const struct range *r;
	struct ms_lock_info info;

	DL_FOREACH(file->holders, h)
		DL_FOREACH(h->ranges.first, r) {
			info_fill(&info, h->owner, file->ino, r);
			if (!fn(arg, &info))
				return false;
		}
	DL_FOREACH(file->waits, w) {
		const struct range at = { .start = w->start, .end = w->end, .mode = w->mode };

		info_fill(&info, w->owner, file->ino, &at);
		info.pid = w->pid;
		info.is_waiting = !w->is_granted;
		if (!fn(arg, &info))
			return false;
	}
	return true;
}

void ms_locks_list(const struct ms_locks *t, inode_no ino,
		   bool (*fn)(void *arg, const struct ms_lock_info *info), void *arg)
{
	const struct lock_file *file, *next;

	if (ino) {
		file = file_find(t, ino);
		if (file)
			(void)list_file(file, fn, arg);
		return;
	}
	HASH_ITER(hh, t->files, file, next)
		if (!list_file(file, fn, arg))
			return;
}

/* --- life ------------------------------------------------------------------------------------- */

int ms_locks_create(const struct ms_lock_limits *limits,
		    void (*granted)(void *arg, session_no session, uint64_t wait), void *arg,
		    struct ms_locks **out)
{
	struct ms_locks *t = calloc(1, sizeof *t);

	if (!t)
		return -E_NOMEM;
	t->limits = *limits;
	t->granted = granted;
	t->arg = arg;
	*out = t;
	return 0;
}

static void granted_to_nobody(void *arg, session_no session, uint64_t wait)
{
	(void)arg;
	(void)session;
	(void)wait;
}

void ms_locks_destroy(struct ms_locks *t)
{
	if (!t)
		return;
	t->granted = granted_to_nobody;
	while (t->sessions)
		ms_locks_drop_session(t, t->sessions->number);
	free(t);
}
