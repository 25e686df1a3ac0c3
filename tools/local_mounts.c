/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/local_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
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
static size_t read_all(int fd, char *out, size_t capacity, uint64_t due_ms)
{
	size_t len = 0;
	ssize_t got = 1;

	while (got > 0 && len < capacity) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		uint64_t at_ms = now_ms();

		if (poll(&wait, 1, at_ms < due_ms ? (int)(due_ms - at_ms) : 0) <= 0)
			break;
		got = read(fd, out + len, capacity - len);
		if (got > 0)
			len += (size_t)got;
	}
	return len;
}

/* One mount that is asked now. All are at once: those that hang cost one deadline together. */
struct asked {
	char *directory, *source;
	pid_t child;
	int fd;
};

static bool ask(struct asked *asked, const struct mntent *entry)
{
	int fds[2];

	*asked = (struct asked){ .directory = strdup(entry->mnt_dir),
				 .source = strdup(entry->mnt_fsname), .fd = -1 };
	if (asked->directory && asked->source && pipe2(fds, O_CLOEXEC) == 0) {
		asked->child = fork();
		if (asked->child == 0) {
			answer_write(fds[1], entry->mnt_dir);
			_exit(0);
		}
		close(fds[1]);
		asked->fd = fds[0];
		return true;
	}
	free(asked->directory);
	free(asked->source);
	return false;
}

/* NULL: no answer in time. */
static json_t *answer_of(struct asked *asked, uint64_t due_ms)
{
	char *text = malloc(ANSWER_BYTES_MAX);
	json_t *answer = NULL;

	if (text && asked->child > 0)
		answer = json_loadb(text, read_all(asked->fd, text, ANSWER_BYTES_MAX, due_ms), 0,
				    NULL);
	if (asked->child > 0) {
		/* One that hangs in the kernel may not even die: it is not waited for. */
		kill(asked->child, SIGKILL);
		(void)waitpid(asked->child, NULL, answer ? 0 : WNOHANG);
	}
	close(asked->fd);
	free(text);
	return answer;
}

/* "HOST:PORT:/" of this "HOST:PORT"? */
static bool is_source(const char *source, const char *mds)
{
	size_t len = strlen(mds);

	return strncmp(source, mds, len) == 0 && source[len] == ':';
}

static void mount_add(json_t *mounts, const struct asked *asked, const json_t *answer,
		      const uint8_t cluster[16], const char *mds)
{
	const char *told = mount_text(answer, "cluster");
	uint8_t id[16];
	bool is_ours = text_parse_hex(told, id, sizeof id) == 0 && memcmp(id, cluster, 16) == 0;

	if (is_source(asked->source, mds) && (!answer || json_object_get(answer, "error")))
		json_array_append_new(mounts,
				      json_pack("{s:s, s:s, s:b}", "directory", asked->directory,
						"source", asked->source, "answers", 0));
	else if (is_ours)
		json_array_append_new(
			mounts, json_pack("{s:s, s:s, s:b, s:O, s:O}", "directory",
					  asked->directory, "source", asked->source, "answers", 1,
					  "passthrough", json_object_get(answer, "passthrough"),
					  "tiers", json_object_get(answer, "tiers")));
}

/*
 * One of another port is of another cluster: it is not asked, and need not be waited for if it
 * hangs. The name of the host tells nothing, it may have several.
 */
static bool may_be_ours(const char *source, const char *mds)
{
	const char *end = strstr(source, ":/"), *port = strrchr(mds, ':');
	size_t port_len = port ? strlen(port) : 0, host_len = end ? (size_t)(end - source) : 0;
	const char *given = end ? memrchr(source, ':', host_len) : NULL;

	if (!port || !given || strspn(given + 1, "0123456789") != (size_t)(end - given) - 1)
		return true;
	return (size_t)(end - given) == port_len && memcmp(given, port, port_len) == 0;
}

json_t *local_mounts(const uint8_t cluster[16], const char *mds)
{
	FILE *table = setmntent("/proc/self/mounts", "r");
	struct asked asked[LOCAL_MOUNTS_MAX];
	uint64_t due_ms = now_ms() + LOCAL_MOUNT_WAIT_MS;
	json_t *mounts = json_array();
	const struct mntent *entry;
	unsigned count = 0;

	while (table && mounts && count < LOCAL_MOUNTS_MAX && (entry = getmntent(table)))
		if (strcmp(entry->mnt_type, "fuse.cairn") == 0 &&
		    may_be_ours(entry->mnt_fsname, mds) && ask(&asked[count], entry))
			count++;
	if (table)
		endmntent(table);
	for (unsigned i = 0; i < count; i++) {
		json_t *answer = answer_of(&asked[i], due_ms);

		mount_add(mounts, &asked[i], answer, cluster, mds);
		json_decref(answer);
		free(asked[i].directory);
		free(asked[i].source);
	}
	return mounts;
}

/* --- mounts that are not asked ---------------------------------------------------------------- */

/* Requests that the kernel has not got an answer for; -1: nobody can say. */
static long calls_waiting(unsigned dev_minor)
{
	char path[64];
	long count = -1;
	FILE *f;

	snprintf(path, sizeof path, "/sys/fs/fuse/connections/%u/waiting", dev_minor);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &count) != 1)
		count = -1;
	fclose(f);
	return count;
}

bool local_mounts_print_waiting(const char *mds)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	char line[8192], directory[4097], source[513];
	unsigned dev_minor;
	bool found = false;

	while (table && fgets(line, sizeof line, table)) {
		const char *type = strstr(line, " - fuse.cairn ");

		if (!type || sscanf(type, " - fuse.cairn %512s", source) != 1 ||
		    !is_source(source, mds) ||
		    sscanf(line, "%*u %*u %*u:%u %*s %4096s", &dev_minor, directory) != 2)
			continue;
		long count = calls_waiting(dev_minor);

		if (count >= 0)
			printf("  mount %s: %ld call%s\n", directory, count,
			       count == 1 ? " waits" : "s wait");
		else
			printf("  mount %s waits for it\n", directory);
		found = true;
	}
	if (table)
		fclose(table);
	return found;
}
