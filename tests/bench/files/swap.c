/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A swap between two models: all shards of the new one are opened and the first bytes of each are
 * read (the length of a safetensors header), then those of the old one are closed, as a server of
 * models does it. Two latencies: of one shard, from before its open until it is read; and from
 * before the first open until the last shard has given its bytes.
 */
#include "tests/bench/files/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHARDS_MAX	   256
#define ALTERNATIONS_MAX   100000u
#define FIRST_BYTES	   8

struct model {
	struct dirent **entries;	/* sorted by name */
	int dirfd, count;
	int fds[SHARDS_MAX];		/* -1: closed */
};

static struct latencies first, all;

static int is_shard(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void model_init(struct model *m, const char *dir)
{
	m->dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	m->count = scandir(dir, &m->entries, is_shard, alphasort);
	if (m->count > SHARDS_MAX)
		errno = E2BIG;
	if (m->dirfd < 0 || m->count < 1 || m->count > SHARDS_MAX)
		files_die("list the shards of", dir);
	for (int i = 0; i < m->count; i++)
		m->fds[i] = -1;
}

static void model_open(struct model *m)
{
	double began = files_seconds(), shard_began = began;
	uint64_t word;

	for (int i = 0; i < m->count; i++) {
		const char *name = m->entries[i]->d_name;

		m->fds[i] = openat(m->dirfd, name, O_RDONLY);
		if (m->fds[i] < 0 || pread(m->fds[i], &word, FIRST_BYTES, 0) != FIRST_BYTES)
			files_die("open", name);
		latencies_add(&first, files_seconds() - shard_began);
		shard_began = files_seconds();
	}
	latencies_add(&all, files_seconds() - began);
}

static void model_close(struct model *m)
{
	for (int i = 0; i < m->count; i++) {
		if (m->fds[i] >= 0)
			close(m->fds[i]);
		m->fds[i] = -1;
	}
}

static void model_finish(struct model *m)
{
	model_close(m);
	for (int i = 0; i < m->count; i++)
		free(m->entries[i]);
	free(m->entries);
	close(m->dirfd);
}

static void drop_caches(void)
{
	static const char path[] = "/proc/sys/vm/drop_caches";
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, "3", 1) != 1)
		files_die("write", path);
	close(fd);
}

uint64_t swap_models(const struct arguments *a)
{
	uint64_t count = files_number(a, 2);
	int drops = a->count > 3 && strcmp(files_text(a, 3), "drop") == 0;
	struct model models[2];

	if (count > ALTERNATIONS_MAX)
		count = ALTERNATIONS_MAX;
	model_init(&models[0], files_text(a, 0));
	model_init(&models[1], files_text(a, 1));
	latencies_init(&first, count * SHARDS_MAX);
	latencies_init(&all, count);
	files_begin();
	for (uint64_t i = 0; i < count; i++) {
		if (drops)
			drop_caches();
		model_open(&models[i % 2]);
		model_close(&models[(i + 1) % 2]);
	}
	model_finish(&models[0]);
	model_finish(&models[1]);
	return count;
}

void swap_print(void)
{
	latencies_print(&first, "first");
	latencies_print(&all, "all");
}
