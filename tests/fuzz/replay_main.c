/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replay a corpus without libFuzzer: give each file named, and each file of each directory named,
 * to the harness; say how many, or on which one it died. Nothing to replay is a failure: a test
 * must be able to fail.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_BYTES_MAX (1 << 20)

static const char *replayed; /* now */

/* Of the sanitizers, if one is linked in: called after its report. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void say_input(void)
{
	if (replayed)
		fprintf(stderr, "input: %s\n", replayed);
}

static void on_abort(int signo)
{
	(void)signo;
	say_input();
	_Exit(EXIT_FAILURE);
}

static int replay_file(const char *path)
{
	int rc = -1;
	uint8_t *room = malloc(INPUT_BYTES_MAX);
	FILE *file = fopen(path, "rb");

	if (!file || !room) {
		perror(path);
		goto out;
	}
	size_t len = fread(room, 1, INPUT_BYTES_MAX, file);
	if (ferror(file) || !feof(file)) {
		fprintf(stderr, "%s: cannot read, or larger than %d bytes\n", path,
			INPUT_BYTES_MAX);
		goto out;
	}
	/* A copy of exactly its length, so that a sanitizer sees one byte too many. */
	uint8_t *exact = malloc(len ? len : 1);
	if (!exact)
		goto out;
	memcpy(exact, room, len);
	replayed = path;
	rc = LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	if (rc != 0)
		say_input();
	replayed = NULL;
out:
	if (file)
		fclose(file);
	free(room);
	return rc;
}

/* How many files were replayed, or -1. */
static int replay_directory(const char *path)
{
	struct dirent *entry;
	char child[4096];
	int count = 0;

	DIR *dir = opendir(path);
	if (!dir) {
		perror(path);
		return -1;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		if (replay_file(child) != 0) {
			count = -1;
			break;
		}
		count++;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	struct stat st;
	int total = 0;

	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(say_input);
	else
		(void)signal(SIGABRT, on_abort);
	for (int i = 1; i < argc; i++) {
		int count = -1;
		if (stat(argv[i], &st) < 0)
			perror(argv[i]);
		else if (S_ISDIR(st.st_mode))
			count = replay_directory(argv[i]);
		else
			count = replay_file(argv[i]) == 0 ? 1 : -1;
		if (count < 0)
			return EXIT_FAILURE;
		total += count;
	}
	printf("%d inputs replayed\n", total);
	return total > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
