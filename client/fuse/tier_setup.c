/* SPDX-License-Identifier: Apache-2.0 */
/* From settings to tiers: folders, and what kind of file system they are on. */
#include "client/fuse/tier_setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "client/tier/tier_options.h"
#include "fs/base/log.h"
#include "fs/base/text.h"
#include "fs/hash/checksum.h"

#define LOG_MODULE "tier"
#define STOP_MS	   60000u	/* a sync of gigabytes takes its time */
#define BOOT_FILE  "/proc/sys/kernel/random/boot_id"

struct tier_setup {
	struct loop *loop;
	struct tiers *tiers;
	struct tier_option options[TIER_PLACES_MAX];
	struct tier_place places[TIER_PLACES_MAX];
	uint32_t place_count;
	struct loop_timer late;
	void (*stopped)(void *arg);
	void *arg;
};

static uint64_t boot_of_system(void)
{
	char text[64];
	FILE *file = fopen(BOOT_FILE, "re");
	size_t len = file ? fread(text, 1, sizeof text, file) : 0;
	if (file)
		fclose(file);
	return checksum_of(text, len);
}

static int make_folder(const char *path)
{
	char copy[CONFIG_TEXT_BYTES];
	(void)text_copy(copy, sizeof copy, path);
	for (char *s = strchr(copy + 1, '/');; s = strchr(s + 1, '/')) {
		if (s)
			*s = '\0';
		if (mkdir(copy, 0700) != 0 && errno != EEXIST)
			return error_from_errno(errno);
		if (!s)
			return 0;
		*s = '/';
	}
}

/* What the tier holds already is room for it: else its limit would shrink with each mount. */
static uint64_t bytes_held(const char *directory)
{
	char path[CONFIG_TEXT_BYTES + 8];
	struct stat st;
	uint64_t bytes = 0;
	snprintf(path, sizeof path, "%s/sealed", directory);
	DIR *dir = opendir(path);
	for (const struct dirent *e; dir && (e = readdir(dir)) != NULL;)
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_blocks * 512;
	if (dir)
		closedir(dir);
	return bytes;
}

/*
 * The store itself opens the folder, and anew should its disk come back: one with a limit that
 * cannot be used is a tier all the same, and reported as one that is broken.
 */
static int place_take(struct tier_option *option, struct tier_place *place)
{
	struct statfs fs = { .f_type = 0 };
	int rc = make_folder(option->directory);
	if (rc == 0 && statfs(option->directory, &fs) != 0)
		rc = error_from_errno(errno);
	if (rc < 0 && option->bytes_max == 0)
		return rc;
	uint64_t unit = (uint64_t)fs.f_bsize;
	struct disk_space space = { .bytes_total = fs.f_blocks * unit,
				    .bytes_free = fs.f_bavail * unit };
	if (option->bytes_max == 0)
		space.bytes_free += bytes_held(option->directory);
	rc = tier_option_resolve(option, &space);
	if (rc < 0)
		return rc;
	*place = (struct tier_place){
		.directory = option->directory, .bytes_max = option->bytes_max,
		.keep_free = option->keep_free,
		.is_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC,
	};
	return 0;
}

static void places_take(struct tier_setup *s, const struct config *config, uint32_t count)
{
	char human[TEXT_BYTES_HUMAN];
	for (uint32_t i = 0; i < count; i++) {
		struct tier_option *option = &s->options[i];
		if (option->directory[0] == '\0') {
			if (config->client_cache_dir[0] == '\0')
				continue;
			int n = snprintf(option->directory, sizeof option->directory, "%.500s/tier",
					 config->client_cache_dir);
			ASSERT(n > 0 && n < (int)sizeof option->directory);
		}
		int rc = place_take(option, &s->places[s->place_count]);
		if (rc < 0) {
			log_warn("no tier in '%s': %s", option->directory, error_text(rc));
			continue;
		}
		struct tier_place *place = &s->places[s->place_count++];
		log_info("tier of %s in '%s'%s", text_bytes_human(human, place->bytes_max),
			 place->directory, place->is_memory ? ", which is memory" : "");
	}
}

static enum tier_policy policy_of(const char *word)
{
	if (strcmp(word, "lru") == 0)
		return TIER_LRU;
	return strcmp(word, "lfu") == 0 ? TIER_LFU : TIER_ADAPTIVE;
}

int tier_setup_create(const struct config *config, const struct tiers_options *base,
		      struct tier_setup **out, struct error *err)
{
	struct tier_setup *s = calloc(1, sizeof *s);
	if (!s)
		return error_set(err, -E_NOMEM, "cannot prepare the tiers");
	int rc = tier_options_parse(&config->client_tier, s->options, err);
	if (rc < 0) {
		free(s);
		return rc;
	}
	s->loop = base->loop;
	places_take(s, config, (uint32_t)rc);
	struct tiers_options o = *base;
	o.places = s->places;
	o.place_count = s->place_count;
	o.policy = policy_of(config->client_tier_policy);
	o.boot_id = boot_of_system();
	o.scrub_bytes_per_s = config->client_tier_scrub_bytes_per_s;
	rc = s->place_count > 0 ? tiers_create(&o, &s->tiers) : 0;
	if (rc < 0) {
		tier_setup_destroy(s);
		return error_set(err, rc, "cannot prepare the tiers");
	}
	*out = s;
	return 0;
}

struct tiers *tier_setup_tiers(const struct tier_setup *s)
{
	return s->tiers;
}

void tier_setup_start(struct tier_setup *s)
{
	if (s->tiers)
		tiers_start(s->tiers);
}

static void stop_told(struct tier_setup *s)
{
	void (*stopped)(void *arg) = s->stopped;
	s->stopped = NULL;
	loop_timer_stop(s->loop, &s->late);
	if (stopped)
		stopped(s->arg);
}

static void stop_done(void *arg)
{
	stop_told(arg);
}

static void stop_late(struct loop_timer *timer)
{
	(void)timer;
	log_warn("a tier does not end; its next start will check what it holds");
	/*
	 * A worker hangs in its disk: it can neither be waited for nor may what it uses be freed.
	 * All else was stopped before the tiers.
	 */
	_exit(EXIT_FAILURE);
}

void tier_setup_stop(struct tier_setup *s, void (*done)(void *arg), void *arg)
{
	s->stopped = done;
	s->arg = arg;
	s->late.fn = stop_late;
	if (s->tiers) {
		loop_timer_start(s->loop, &s->late, STOP_MS);
		tiers_stop(s->tiers, stop_done, s);
	} else {
		stop_told(s);
	}
}

void tier_setup_destroy(struct tier_setup *s)
{
	if (!s)
		return;
	tiers_destroy(s->tiers);
	free(s);
}
