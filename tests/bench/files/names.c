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
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME_BYTES 4352

struct small {
	const char *kind; /* of names: file or folder */
	void (*run)(const char *name, uint64_t index);
	unsigned calls; /* that count, per name */
};

static void file_create(const char *name, uint64_t index)
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

/* A child that begins when the pipe is closed at the other end, together with the others. */
static void fork_one(const struct small *s, const char *dir, uint64_t count, const int start[2])
{
	pid_t pid = fork();
	char byte;

	if (pid < 0)
		files_die("start a process for", dir);
	if (pid > 0)
		return;
	close(start[1]);
	if (read(start[0], &byte, 1) != 0)
		_exit(1);
	run_each(s, dir, count);
	_exit(0);
}

static void run_by_processes(const struct small *s, const char *dir, uint64_t each,
			     uint64_t processes)
{
	int start[2], status, failed = 0;

	if (pipe(start) != 0)
		files_die("make a pipe for", dir);
	for (uint64_t i = 0; i < processes; i++) {
		char own[NAME_BYTES];

		snprintf(own, sizeof own, "%.4096s/process-%llu", dir, (unsigned long long)i);
		if (mkdir(own, 0755) != 0 && errno != EEXIST)
			files_die("make", own);
		fork_one(s, own, each, start);
	}
	files_begin();
	close(start[1]);
	close(start[0]);
	while (wait(&status) > 0)
		failed |= status;
	if (failed)
		exit(1);
}

static uint64_t run(const struct small *s, const struct arguments *a)
{
	uint64_t count = files_number(a, 1), processes = files_number_or(a, 2, 1);

	if (processes == 1)
		run_each(s, files_text(a, 0), count);
	else
		run_by_processes(s, files_text(a, 0), count / processes, processes);
	return s->calls * (count / processes * processes);
}

uint64_t names_create(const struct arguments *a)
{
	return run(&(struct small){ "file", file_create, 1 }, a);
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
