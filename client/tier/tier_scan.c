/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start-up of a place: a worker lists its folders and reads no content. What was sealed is believed
 * if the tier was closed cleanly or the system runs on since (I15), else doubted. Left-overs of
 * fills, content without sums and sums without content are removed; what is not ours is left alone,
 * and told.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/tier/tier_internal.h"
#include "fs/base/log.h"

#define LOG_MODULE     "tier"
#define NEW_SUFFIX     ".new"		/* of a file that was being replaced */
#define FILLING_DIGITS 16u

/* A list of names, without their folder. */
struct names {
	char (*at)[TIER_PATH_BYTES];
	uint32_t count, capacity;
	uint32_t foreign;		/* not ours; one of them: */
	char foreign_name[TIER_PATH_BYTES];
	int rc;
};

struct scan {
	const char *step;		/* what failed */
	const char *directory;
	struct disk *disk;		/* opened here; or the place's */
	bool owns_disk, is_locked;
	bool is_clean;			/* or the system runs on since */
	uint64_t boot_id, bytes_free;
	struct names sealed, sums, filling;
	void *index;
	size_t index_bytes;
	int dir_fd;
	dev_t device;			/* where the folder was before; 0: not known */
};

/* --- on a worker ------------------------------------------------------------------------------ */

static void names_add(struct names *names, const char *name)
{
	if (names->rc < 0 || names->count >= TIER_FILES_MAX)
		return;
	if (names->count == names->capacity) {
		uint32_t capacity = MAX_OF(64u, 2 * names->capacity);
		void *at = realloc(names->at, (size_t)capacity * sizeof names->at[0]);

		if (at == NULL) {
			names->rc = -E_NOMEM;
			return;
		}
		names->at = at;
		names->capacity = capacity;
	}
	snprintf(names->at[names->count++], TIER_PATH_BYTES, "%s", name);
}

static void names_foreign(struct names *names, const char *name)
{
	if (names->foreign++ == 0)
		snprintf(names->foreign_name, TIER_PATH_BYTES, "%s", name);
}

static void on_sealed_name(void *arg, const char *name)
{
	struct root root;

	if (tier_format_parse_name(name, &root) == 0)
		names_add(arg, name);
	else
		names_foreign(arg, name);
}

/* Also of sums that were being replaced: these have no content, and go. */
static void on_sums_name(void *arg, const char *name)
{
	char stem[TIER_FORMAT_NAME_BYTES];
	struct root root;
	size_t len = strlen(name);

	snprintf(stem, sizeof stem, "%s", name);
	if (tier_format_parse_name(stem, &root) == 0 &&
	    (len == sizeof stem - 1 || strcmp(name + sizeof stem - 1, NEW_SUFFIX) == 0))
		names_add(arg, name);
	else
		names_foreign(arg, name);
}

static void on_filling_name(void *arg, const char *name)
{
	if (strlen(name) == FILLING_DIGITS &&
	    strspn(name, "0123456789abcdef") == FILLING_DIGITS)
		names_add(arg, name);
	else
		names_foreign(arg, name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int list(struct disk *disk, const char *dir, struct names *names,
		void (*fn)(void *arg, const char *name))
{
	int rc = disk_list(disk, dir, fn, names);

	if (rc == 0)
		rc = names->rc;
	if (rc == 0 && names->count > 0)
		qsort(names->at, names->count, sizeof names->at[0], by_name);
	return rc;
}

static bool has(const struct names *names, const char *name)
{
	return names->count > 0 && bsearch(name, names->at, names->count, sizeof names->at[0],
					   by_name) != NULL;
}

static int remove_one(struct disk *disk, const char *dir, const char *name)
{
	char path[2 * TIER_PATH_BYTES];
	int rc;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	rc = disk_unlink(disk, path);
	return rc == -E_NOENT ? 0 : rc;
}

/* Remove those of `names` that `others` lacks (NULL: all); what stays is kept in the list. */
static int remove_lonely(struct disk *disk, const char *dir, struct names *names,
			 const struct names *others)
{
	uint32_t kept = 0;
	int rc = 0;

	for (uint32_t i = 0; i < names->count && rc == 0; i++) {
		if (others != NULL && has(others, names->at[i]))
			memmove(names->at[kept++], names->at[i], sizeof names->at[0]);
		else
			rc = remove_one(disk, dir, names->at[i]);
	}
	names->count = kept;
	return rc;
}

/*
 * Make it if it is not there. One that was lost is made again only on its old file system: else it
 * was unmounted, and what lies below the mount point is not for us to fill.
 */
static int make_folder(const struct scan *s)
{
	char parent[PATH_MAX];
	struct stat st;

	if (stat(s->directory, &st) == 0)
		return 0;
	snprintf(parent, sizeof parent, "%s", s->directory);
	*strrchr(parent, '/') = '\0';
	if (s->device != 0 && (stat(parent[0] != '\0' ? parent : "/", &st) < 0 ||
			       st.st_dev != s->device))
		return -E_NOENT;
	return mkdir(s->directory, 0700) < 0 && errno != EEXIST ? error_from_errno(errno) : 0;
}

static int open_folder(struct scan *s)
{
	struct stat st;
	int rc;

	if (s->disk == NULL) {
		s->step = "open the folder";
		rc = make_folder(s);
		if (rc < 0)
			return rc;
		rc = disk_posix_create(s->directory, &s->disk);
		if (rc < 0)
			return rc;
		s->owns_disk = true;
	}
	if (s->directory[0] != '\0')
		s->dir_fd = open(s->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd >= 0 && fstat(s->dir_fd, &st) == 0)
		s->device = st.st_dev;
	s->step = "lock the folder";
	rc = s->is_locked ? 0 : disk_lock(s->disk);
	s->is_locked = rc == 0;
	return rc;
}

/* Judge what the last one left, then say that it is open: durable before anything changes. */
static int open_state(struct scan *s)
{
	uint8_t bytes[TIER_FORMAT_STATE_BYTES];
	struct tier_format_state state;
	int rc;

	s->step = "read its state";
	rc = disk_read_file(s->disk, TIER_FORMAT_STATE_FILE, bytes, sizeof bytes);
	if (rc < 0 && rc != -E_NOENT)
		return rc;
	if (rc == (int)sizeof bytes && tier_format_state_decode(bytes, &state) == 0)
		s->is_clean = state.is_clean || state.boot_id == s->boot_id;
	state = (struct tier_format_state){ .boot_id = s->boot_id };
	tier_format_state_encode(&state, bytes);
	s->step = "note its state";
	return disk_replace_file(s->disk, TIER_FORMAT_STATE_FILE, bytes, sizeof bytes);
}

static int make_folders(struct scan *s)
{
	static const char *const dirs[] = { TIER_FILLING_DIR, TIER_SEALED_DIR, TIER_SUMS_DIR };
	int rc = 0;

	s->step = "make its folders";
	for (uint32_t i = 0; i < ARRAY_COUNT(dirs) && rc == 0; i++)
		rc = disk_mkdir(s->disk, dirs[i]);
	return rc == 0 ? disk_sync_dir(s->disk, "") : rc;
}

static int take_stock(struct scan *s)
{
	struct disk_space space;
	int rc;

	s->step = "list its folders";
	rc = list(s->disk, TIER_SEALED_DIR, &s->sealed, on_sealed_name);
	if (rc == 0)
		rc = list(s->disk, TIER_SUMS_DIR, &s->sums, on_sums_name);
	if (rc == 0)
		rc = list(s->disk, TIER_FILLING_DIR, &s->filling, on_filling_name);
	if (rc < 0)
		return rc;
	s->step = "remove left-overs";
	rc = remove_lonely(s->disk, TIER_FILLING_DIR, &s->filling, NULL);
	if (rc == 0)
		rc = remove_lonely(s->disk, TIER_SEALED_DIR, &s->sealed, &s->sums);
	if (rc == 0)
		rc = remove_lonely(s->disk, TIER_SUMS_DIR, &s->sums, &s->sealed);
	if (rc < 0)
		return rc;
	s->step = "read the uses";
	rc = tier_index_read(s->disk, &s->index, &s->index_bytes);
	if (rc < 0)
		return rc;
	s->step = "ask for free space";
	rc = disk_space(s->disk, &space);
	s->bytes_free = rc == 0 ? space.bytes_free : 0;
	return rc;
}

static void scan_run(struct tier_job *job)
{
	struct scan *s = job->found;

	job->rc = open_folder(s);
	if (job->rc == 0)
		job->rc = open_state(s);
	if (job->rc == 0)
		job->rc = make_folders(s);
	if (job->rc == 0)
		job->rc = take_stock(s);
}

/* --- on the loop ------------------------------------------------------------------------------ */

static void names_tell(const struct place *p, const char *dir, const struct names *names)
{
	if (names->foreign > 0)
		log_info("files of others are left alone place='%s' dir=%s count=%u one='%s'",
			 p->directory, dir, names->foreign, names->foreign_name);
}

static void take_file(struct place *p, const char *name, bool is_doubted)
{
	struct tiers *t = p->tiers;
	struct tier_file *f;
	struct root root;

	if (tier_format_parse_name(name, &root) < 0)
		return;
	f = tier_file_create(p, &root, 0);
	if (f == NULL)
		return;		/* it stays where it is until the next start */
	f->is_made = true;
	f->has_sealed_name = true;
	tier_file_charge(f, tiers_place_charge(&root));
	t->filling_count++;
	/* The same content in two places, by an interrupted move: one copy will do. */
	if (tiers_lookup(t, &root) != NULL) {
		tier_file_gone(f, false);
		return;
	}
	f->is_doubted = is_doubted;
	tier_file_publish(f);
	t->filling_count--;
	tier_file_sealed(f);
}

static void take(struct place *p, const struct scan *s)
{
	bool is_doubted = !s->is_clean || p->was_broken;

	names_tell(p, TIER_SEALED_DIR, &s->sealed);
	names_tell(p, TIER_SUMS_DIR, &s->sums);
	names_tell(p, TIER_FILLING_DIR, &s->filling);
	p->state = PLACE_READY;
	p->problem[0] = '\0';
	p->bytes_free = UINT64_MAX / 2;		/* what is found is no news to the disk */
	for (uint32_t i = 0; i < s->sealed.count; i++)
		take_file(p, s->sealed.at[i], is_doubted);
	p->bytes_free = s->bytes_free;
	log_info("a cache tier is open place='%s' files=%u bytes=%llu%s", p->directory,
		 s->sealed.count, (unsigned long long)p->bytes_used,
		 is_doubted && s->sealed.count > 0 ? ", all to be checked" : "");
	tier_index_take(p, s->index, s->index_bytes);
	p->is_index_old = false;
	/* The limit may have been lowered. */
	tiers_place_shrink(p);
}

static void names_finish(struct names *names)
{
	free(names->at);
}

void tier_scan_free(struct tier_job *job)
{
	struct scan *s = job->found;

	if (s == NULL)
		return;
	names_finish(&s->sealed);
	names_finish(&s->sums);
	names_finish(&s->filling);
	free(s->index);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	if (s->owns_disk)
		disk_destroy(s->disk);
	free(s);
	job->found = NULL;
}

static void all_ready(struct tiers *t)
{
	for (uint32_t i = 0; i < t->place_count; i++)
		if (t->places[i].state == PLACE_SCANNING)
			return;
	t->is_ready = true;
}

static void scan_done(struct tier_job *job)
{
	struct place *p = job->place;
	struct scan *s = job->found;

	p->is_job_active = false;
	/* One that we opened is closed again if it failed. */
	p->is_locked = s->is_locked && (job->rc == 0 || !s->owns_disk);
	if (job->rc == -E_BUSY && !s->is_locked) {
		tiers_place_taken(p);
	} else if (job->rc < 0) {
		p->state = PLACE_SCANNING;
		tiers_place_break(p, s->step, job->rc);
	} else {
		p->disk = s->disk;
		p->dir_fd = s->dir_fd;
		p->device = s->device;
		s->owns_disk = false;
		s->dir_fd = -1;
		take(p, s);
	}
	tier_scan_free(job);
	all_ready(p->tiers);
}

void tier_scan_start(struct place *p)
{
	struct scan *s = calloc(1, sizeof *s);

	if (p->owns_disk) {
		disk_destroy(p->disk);
		p->disk = NULL;
		p->is_locked = false;
	}
	if (p->dir_fd >= 0)
		close(p->dir_fd);
	if (p->tree_fd >= 0)
		close(p->tree_fd);
	p->dir_fd = p->tree_fd = -1;
	p->has_no_tree = false;
	p->state = PLACE_SCANNING;
	if (s == NULL) {
		tiers_place_break(p, "read the folder", -E_NOMEM);
		all_ready(p->tiers);
		return;
	}
	s->directory = p->directory;
	s->disk = p->disk;
	s->is_locked = p->is_locked;
	s->boot_id = p->tiers->options.boot_id;
	s->dir_fd = -1;
	s->device = p->device;
	p->is_job_active = true;
	p->job.found = s;
	p->job.run = scan_run;
	p->job.done = scan_done;
	tiers_job_start(&p->job);
}
