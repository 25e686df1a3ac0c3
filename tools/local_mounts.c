/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/local_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/mount_client.h"

#define ANSWER_BYTES_MAX KiB(64)

/* In the child. */
static void answer_write(int fd, const char *directory)
{
	struct mount_client *m = NULL;
	struct error err = { 0 };
	json_t *info = NULL;

	if (mount_client_open(directory, &m, &err) == 0 &&
	    mount_client_ask(m, json_pack("{s:s}", "do", "info"), &info, &err) == 0)
		(void)json_dumpfd(info, fd, JSON_COMPACT);
	else
		(void)json_dumpfd(json_pack("{s:i}", "error", -err.code), fd, JSON_COMPACT);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* What comes until the end, or the deadline. */
static size_t read_all(int fd, char *out, size_t capacity)
{
	uint64_t due_ms = now_ms() + LOCAL_MOUNT_WAIT_MS, at_ms;
	size_t len = 0;
	ssize_t got = 1;

	while (got > 0 && len < capacity && (at_ms = now_ms()) < due_ms) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };

		if (poll(&wait, 1, (int)(due_ms - at_ms)) <= 0)
			break;
		got = read(fd, out + len, capacity - len);
		if (got > 0)
			len += (size_t)got;
	}
	return len;
}

/* NULL: no answer in time. */
static json_t *ask(const char *directory)
{
	char *text = malloc(ANSWER_BYTES_MAX);
	json_t *answer = NULL;
	int fds[2];
	pid_t child;

	if (!text || pipe2(fds, O_CLOEXEC) != 0) {
		free(text);
		return NULL;
	}
	child = fork();
	if (child == 0) {
		answer_write(fds[1], directory);
		_exit(0);
	}
	close(fds[1]);
	if (child > 0) {
		size_t len = read_all(fds[0], text, ANSWER_BYTES_MAX);

		answer = json_loadb(text, len, 0, NULL);
		/* One that hangs in the kernel may not even die: it is not waited for. */
		kill(child, SIGKILL);
		(void)waitpid(child, NULL, answer ? 0 : WNOHANG);
	}
	close(fds[0]);
	free(text);
	return answer;
}

static void mount_add(json_t *mounts, const struct mntent *entry, const uint8_t cluster[16],
		      const char *mds)
{
	json_t *answer = ask(entry->mnt_dir);
	const char *told = mount_text(answer, "cluster");
	size_t mds_len = strlen(mds);
	uint8_t id[16];
	bool seems_ours = strncmp(entry->mnt_fsname, mds, mds_len) == 0 &&
			  entry->mnt_fsname[mds_len] == ':';
	bool is_ours = text_parse_hex(told, id, sizeof id) == 0 && memcmp(id, cluster, 16) == 0;

	if (seems_ours && (!answer || json_object_get(answer, "error")))
		json_array_append_new(mounts,
				      json_pack("{s:s, s:s, s:b}", "directory", entry->mnt_dir,
						"source", entry->mnt_fsname, "answers", 0));
	else if (is_ours)
		json_array_append_new(
			mounts, json_pack("{s:s, s:s, s:b, s:O, s:O}", "directory", entry->mnt_dir,
					  "source", entry->mnt_fsname, "answers", 1, "passthrough",
					  json_object_get(answer, "passthrough"), "tiers",
					  json_object_get(answer, "tiers")));
	json_decref(answer);
}

json_t *local_mounts(const uint8_t cluster[16], const char *mds)
{
	FILE *table = setmntent("/proc/self/mounts", "r");
	json_t *mounts = json_array();
	const struct mntent *entry;

	while (table && mounts && json_array_size(mounts) < LOCAL_MOUNTS_MAX &&
	       (entry = getmntent(table)))
		if (strcmp(entry->mnt_type, "fuse.cairn") == 0)
			mount_add(mounts, entry, cluster, mds);
	if (table)
		endmntent(table);
	return mounts;
}
