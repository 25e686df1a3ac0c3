/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: small files made, looked at, read, renamed and removed; folders; listings. COUNT is in
 * all; several processes have a folder of their own each, since the kernel lets only one at a time
 * make a name in a folder.
 */
#include "tests/bench/files/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 4352

struct small {
	const char *kind; /* of names: file or folder */
	void (*run)(const char *name, uint64_t index);
	unsigned calls; /* that count, per name */
};

void names_make(const char *name, uint64_t index)
{
	static uint8_t *page;
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (!page)
		page = files_noise(PAGE_BYTES, 0);
	files_mark(page, PAGE_BYTES, index);
	if (fd < 0 || write(fd, page, PAGE_BYTES) != (ssize_t)PAGE_BYTES || close(fd) != 0)
		files_die("create", name);
}

static void file_stat(const char *name, uint64_t index)
{
	struct stat st;

	(void)index;
	if (stat(name, &st) != 0)
		files_die("stat", name);
}

static void file_get(const char *name, uint64_t index)
{
	uint8_t bytes[2 * PAGE_BYTES];
	int fd = open(name, O_RDONLY);

	(void)index;
	if (fd < 0 || read(fd, bytes, sizeof bytes) != (ssize_t)PAGE_BYTES || close(fd) != 0)
		files_die("read", name);
}

/* There and back, so that the folder is as it was. */
static void file_rename(const char *name, uint64_t index)
{
	char other[NAME_BYTES + 8];

	(void)index;
	snprintf(other, sizeof other, "%s.moved", name);
	if (rename(name, other) != 0 || rename(other, name) != 0)
		files_die("rename", name);
}

static void file_unlink(const char *name, uint64_t index)
{
	(void)index;
	if (unlink(name) != 0)
		files_die("remove", name);
}

static void folder_make(const char *name, uint64_t index)
{
	(void)index;
	if (mkdir(name, 0755) != 0)
		files_die("make", name);
}

static void folder_remove(const char *name, uint64_t index)
{
	(void)index;
	if (rmdir(name) != 0)
		files_die("remove", name);
}

static void run_each(const struct small *s, const char *dir, uint64_t count)
{
	char name[NAME_BYTES];

	for (uint64_t i = 0; i < count; i++) {
		snprintf(name, sizeof name, "%.4096s/%s-%012llu.bin", dir, s->kind,
			 (unsigned long long)i);
		s->run(name, i);
	}
}

/* What each of several processes does, in its own folder. */
struct share {
	const struct small *small;
	const char *dir;
	uint64_t each;
};

static void own_folder(const struct share *s, unsigned index, char name[NAME_BYTES])
{
	snprintf(name, NAME_BYTES, "%.4096s/process-%u", s->dir, index);
}

static void make_own_folder(void *arg, unsigned index)
{
	char own[NAME_BYTES];

	own_folder(arg, index, own);
	if (mkdir(own, 0755) != 0 && errno != EEXIST)
		files_die("make", own);
}

static void run_own(void *arg, unsigned index)
{
	const struct share *s = arg;
	char own[NAME_BYTES];

	own_folder(s, index, own);
	run_each(s->small, own, s->each);
}

static uint64_t run(const struct small *s, const struct arguments *a)
{
	uint64_t count = files_number(a, 1), processes = files_number_or(a, 2, 1);

	if (processes == 1)
		run_each(s, files_text(a, 0), count);
	else
		files_together(&(struct together){
			make_own_folder, run_own,
			&(struct share){ s, files_text(a, 0), count / processes },
			(unsigned)processes });
	return s->calls * (count / processes * processes);
}

uint64_t names_create(const struct arguments *a)
{
	return run(&(struct small){ "file", names_make, 1 }, a);
}

uint64_t names_stat(const struct arguments *a)
{
	return run(&(struct small){ "file", file_stat, 1 }, a);
}

uint64_t names_get(const struct arguments *a)
{
	return run(&(struct small){ "file", file_get, 1 }, a);
}

uint64_t names_rename(const struct arguments *a)
{
	return run(&(struct small){ "file", file_rename, 2 }, a);
}

uint64_t names_unlink(const struct arguments *a)
{
	return run(&(struct small){ "file", file_unlink, 1 }, a);
}

uint64_t names_mkdir(const struct arguments *a)
{
	return run(&(struct small){ "folder", folder_make, 1 }, a);
}

uint64_t names_rmdir(const struct arguments *a)
{
	return run(&(struct small){ "folder", folder_remove, 1 }, a);
}

uint64_t names_list(const struct arguments *a)
{
	const char *dir = files_text(a, 0);
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;
	uint64_t count = 0;

	if (!d)
		files_die("open", dir);
	while ((e = readdir(d))) {
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			files_die("stat", e->d_name);
		count++;
	}
	closedir(d);
	return count;
}
