/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps I15 across restarts. The file is text, replaced whole and synced, so it is old or new,
 * never torn; whatever does not read back to the very same bytes is not trusted (I8).
 */
#include "fs/io/view.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/io/disk.h"

#define VIEW_NAME	"view"
#define VIEW_BYTES_MAX	256
#define BOOT_ID_DIR	"/proc/sys/kernel/random"
#define BOOT_ID_NAME	"boot_id"
#define BOOT_ID_CHARS	36

/* LMDB's names; the lock file is of no use without the data. */
static const char *const DATA_NAME = "data.mdb";
static const char *const LOCK_NAME = "lock.mdb";

static const char *const BUILDING = "building", *const OPEN = "open", *const CLEAN = "clean";

struct note {
	char state[12];		/* one of the three below */
	char boot_id[BOOT_ID_CHARS + 1];
	struct view_position position;
};

static int boot_id_read(char out[BOOT_ID_CHARS + 1])
{
	struct disk *proc;
	int rc = disk_posix_create(BOOT_ID_DIR, &proc);

	if (rc < 0)
		return rc;
	rc = disk_read_file(proc, BOOT_ID_NAME, out, BOOT_ID_CHARS);
	disk_destroy(proc);
	if (rc < 0)
		return rc;
	out[rc] = '\0';
	return rc == BOOT_ID_CHARS ? 0 : -E_MALFORMED;
}

static uint32_t note_render(const struct note *note, char out[VIEW_BYTES_MAX])
{
	int len = snprintf(out, VIEW_BYTES_MAX,
			   "cairn view 1\nstate %s\nboot %s\nposition %" PRIu64 " %" PRIu64 "\n",
			   note->state, note->boot_id, note->position.major, note->position.minor);

	ASSERT(len > 0 && len < VIEW_BYTES_MAX);
	return (uint32_t)len;
}

static int note_read(struct disk *disk, struct note *out)
{
	char text[VIEW_BYTES_MAX + 1], again[VIEW_BYTES_MAX];
	int len = disk_read_file(disk, VIEW_NAME, text, VIEW_BYTES_MAX);

	*out = (struct note){ 0 };
	if (len < 0)
		return len;
	text[len] = '\0';
	if (sscanf(text, "cairn view 1 state %11s boot %36s position %" SCNu64 " %" SCNu64,
		   out->state, out->boot_id, &out->position.major, &out->position.minor) != 4)
		return -E_MALFORMED;
	if (note_render(out, again) != (uint32_t)len || memcmp(text, again, (size_t)len) != 0)
		return -E_MALFORMED;
	return 0;
}

/* Replace the note by one of this state under the present boot id. */
static int note_write(struct disk *disk, const char *state, struct view_position position)
{
	struct note note = { .position = position };
	char text[VIEW_BYTES_MAX];
	int rc = boot_id_read(note.boot_id);

	if (rc < 0)
		return rc;
	snprintf(note.state, sizeof note.state, "%s", state);
	return disk_replace_file(disk, VIEW_NAME, text, note_render(&note, text));
}

static int discard(struct disk *disk)
{
	int rc = disk_unlink(disk, DATA_NAME);

	if (rc == -E_NOENT)
		return 0;
	if (rc == 0)
		rc = disk_unlink(disk, LOCK_NAME);
	return rc == -E_NOENT ? 0 : rc;
}

static void judge(const struct note *note, const char *boot_id, struct view_state *out)
{
	*out = (struct view_state){ 0 };
	out->was_closed = strcmp(note->state, CLEAN) == 0;
	out->is_trusted = out->was_closed ||
			  (strcmp(note->state, OPEN) == 0 && strcmp(note->boot_id, boot_id) == 0);
	if (out->was_closed)
		out->position = note->position;
}

static int open_on(struct disk *disk, struct view_state *out)
{
	char boot_id[BOOT_ID_CHARS + 1];
	struct note note;
	int rc = boot_id_read(boot_id);

	if (rc < 0)
		return rc;
	rc = note_read(disk, &note);
	if (rc == -E_NOENT || rc == -E_MALFORMED)
		note = (struct note){ 0 };
	else if (rc < 0)
		return rc;
	judge(&note, boot_id, out);
	if (!out->is_trusted) {
		rc = discard(disk);
		if (rc < 0)
			return rc;
	}
	return note_write(disk, out->is_trusted ? OPEN : BUILDING, (struct view_position){ 0 });
}

/* --- a page that the disk cannot give ---- */

/*
 * LMDB reads through a map of memory, so what a failing disk cannot read is SIGBUS in the midst of
 * LMDB: the process cannot go on. Kept, the view would end the next one at the same page. So its
 * note is removed first: the next start builds it again, or finds that the disk is no good. All
 * here is async-signal-safe.
 */

/* Hexadecimal digits at *at, which moves behind them. */
static uintptr_t hex_read(const char **at)
{
	uintptr_t value = 0;

	for (; (**at >= '0' && **at <= '9') || (**at >= 'a' && **at <= 'f'); (*at)++)
		value = value << 4 | (uintptr_t)(**at <= '9' ? **at - '0' : **at - 'a' + 10);
	return value;
}

static bool line_holds(const char *line, uintptr_t address)
{
	uintptr_t from = hex_read(&line), to = *line++ == '-' ? hex_read(&line) : 0;

	return address >= from && address < to;
}

/* The file that is mapped at `address`, by /proc/self/maps, into line[PATH_MAX + 128]; NULL. */
static char *mapped_file(uintptr_t address, char *line)
{
	static char chunk[4096];
	size_t len = 0;
	ssize_t got;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	while (fd >= 0 && (got = read(fd, chunk, sizeof chunk)) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (chunk[i] != '\n' && len < PATH_MAX + 127) {
				line[len++] = chunk[i];
				continue;
			}
			line[len] = '\0';
			len = 0;
			if (line_holds(line, address)) {
				close(fd);
				return strchr(line, '/');
			}
		}
	}
	return NULL;
}

static void say(const char *text)
{
	(void)!write(STDERR_FILENO, text, strlen(text));
}

static void on_bus_error(int signo, siginfo_t *info, void *context)
{
	static char line[PATH_MAX + 128];
	char *path = mapped_file((uintptr_t)info->si_addr, line);
	char *name = path != NULL ? strrchr(path, '/') + 1 : NULL;

	(void)signo;
	(void)context;
	if (name == NULL || strcmp(name, DATA_NAME) != 0)
		return; /* not ours: it comes again, and ends the process as ever */
	memcpy(name, VIEW_NAME, sizeof VIEW_NAME);
	(void)!unlink(path);
	name[-1] = '\0';
	say("error view cannot read the index in '");
	say(path);
	say("', its disk fails: ending; the next start builds it again\n");
	_exit(EXIT_FAILURE);
}

static void watch_maps(void)
{
	static bool is_watched;
	struct sigaction sa = { .sa_sigaction = on_bus_error,
				.sa_flags = SA_SIGINFO | (int)SA_RESETHAND };

	if (!is_watched)
		is_watched = sigaction(SIGBUS, &sa, NULL) == 0;
}

int view_open(const char *directory, struct view_state *out)
{
	struct disk *disk;
	int rc;

	watch_maps();
	if (mkdir(directory, 0750) < 0 && errno != EEXIST)
		return error_from_errno(errno);
	rc = disk_posix_create(directory, &disk);
	if (rc < 0)
		return rc;
	rc = open_on(disk, out);
	disk_destroy(disk);
	return rc;
}

int view_peek(const char *directory, struct view_state *out)
{
	char boot_id[BOOT_ID_CHARS + 1];
	struct note note = { 0 };
	struct disk *disk;
	int rc = disk_posix_create(directory, &disk);

	if (rc < 0)
		return rc;
	rc = note_read(disk, &note);
	disk_destroy(disk);
	if (rc == 0)
		rc = boot_id_read(boot_id);
	if (rc < 0 && rc != -E_MALFORMED)
		return rc;
	if (rc == 0)
		judge(&note, boot_id, out);
	else
		*out = (struct view_state){ 0 };
	return 0;
}

int view_built(const char *directory)
{
	struct disk *disk;
	int rc = disk_posix_create(directory, &disk);

	if (rc < 0)
		return rc;
	rc = note_write(disk, OPEN, (struct view_position){ 0 });
	disk_destroy(disk);
	return rc;
}

/* A sync through any descriptor covers all that was ever written to the file. */
static int sync_data(struct disk *disk)
{
	struct disk_file *data;
	int rc = disk_open(disk, DATA_NAME, DISK_WRITE, &data);

	if (rc < 0)
		return rc;
	rc = disk_sync(data);
	disk_close(data);
	return rc < 0 ? rc : disk_sync_dir(disk, "");
}

int view_close_clean(const char *directory, struct view_position position)
{
	struct disk *disk;
	int rc = disk_posix_create(directory, &disk);

	if (rc < 0)
		return rc;
	/* In this order: "clean" must not be durable before what it speaks of (I4). */
	rc = sync_data(disk);
	if (rc == 0)
		rc = note_write(disk, CLEAN, position);
	disk_destroy(disk);
	return rc;
}
