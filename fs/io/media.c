/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of disks: the table of profiles, what sysfs says, what the configuration says. */
#include "fs/io/media.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/hash/checksum.h"

#define DEPTH_MAX	  8u /* of disks on disks */
#define LINE_BYTES	  512u
#define MOUNTS_BYTES_MAX  4096u /* of a line of mountinfo that we look at */
#define RUN		  KiB(1028) /* sixteen records of full blocks */
#define GAP		  KiB(132)  /* two of them */

/*
 * Records are at most 64 KiB, so requests are what is merged of them: a longer one costs less of
 * the processor, a shorter one lets others through sooner where the medium is slow. A gap is worth
 * reading if that takes no longer than the seek it saves.
 */
static const struct media_profile PROFILES[MEDIA_COUNT] = {
	[MEDIA_OTHER] = {"other", 16, RUN, GAP, 2, MiB(200)},
	[MEDIA_MEMORY] = {"memory", 32, RUN, GAP, 0, MiB(8000)},
	[MEDIA_NVME] = {"nvme", 32, RUN, GAP, 1, MiB(2500)},
	[MEDIA_SSD] = {"ssd", 8, RUN, GAP, 2, MiB(500)},
	[MEDIA_VIRTUAL] = {"virtual", 16, RUN, GAP, 2, MiB(500)},
	[MEDIA_EMMC] = {"emmc", 8, KiB(512), KiB(64), 3, MiB(200)},
	[MEDIA_ROTATING] = {"rotating", 1, RUN, KiB(512), 4, MiB(150)},
	[MEDIA_SD] = {"sd", 1, RUN, KiB(32), 5, MiB(60)},
};

const struct media_profile *media_profile(enum media_kind kind)
{
	ASSERT((unsigned)kind < MEDIA_COUNT);
	return &PROFILES[kind];
}

int media_parse(const char *name, enum media_kind *out)
{
	for (unsigned i = 0; i < MEDIA_COUNT; i++) {
		if (strcmp(name, PROFILES[i].name) == 0) {
			*out = (enum media_kind)i;
			return 0;
		}
	}
	return -E_INVAL;
}

/* --- the setting ---- */

/* "DIRECTORY=KIND": how long the directory is; "KIND": 0. */
static size_t directory_length(const char *entry)
{
	const char *equals = strrchr(entry, '=');

	return equals != NULL ? (size_t)(equals - entry) : 0;
}

static size_t without_slashes(const char *path, size_t length)
{
	while (length > 1 && path[length - 1] == '/')
		length--;
	return length;
}

static bool is_of(const char *entry, const char *directory)
{
	size_t length = without_slashes(entry, directory_length(entry));
	size_t wanted = without_slashes(directory, strlen(directory));

	return length == 0 || (length == wanted && memcmp(entry, directory, length) == 0);
}

static int entry_kind(const char *entry, enum media_kind *kind, struct error *err)
{
	size_t length = directory_length(entry);
	const char *name = length > 0 ? entry + length + 1 : entry;

	if (strcmp(name, "auto") == 0)
		return 0;
	if (media_parse(name, kind) < 0)
		return error_say(err, -E_INVAL, "cs.media: '%s' is none of auto, %s", name,
				 MEDIA_NAMES);
	return 1;
}

int media_chosen(const struct config_paths *setting, const char *directory, enum media_kind *kind,
		 struct error *err)
{
	int result = 0;

	for (uint32_t i = 0; i < setting->count && result >= 0; i++) {
		if (is_of(setting->path[i], directory))
			result = entry_kind(setting->path[i], kind, err);
	}
	return result;
}

int media_check(const struct config_paths *setting, const struct config_paths *dirs,
		struct error *err)
{
	for (uint32_t i = 0; i < setting->count; i++) {
		const char *entry = setting->path[i];
		enum media_kind kind;
		bool is_there = false;
		int rc = entry_kind(entry, &kind, err);

		for (uint32_t k = 0; k < dirs->count; k++)
			is_there = is_there || is_of(entry, dirs->path[k]);
		if (rc >= 0 && !is_there)
			rc = error_say(err, -E_INVAL, "cs.media: '%.*s' is none of cs.dirs",
				       (int)directory_length(entry), entry);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- sysfs ---- */

/* The first line of a file of a device, without what is around it; "" if there is none. */
static void read_line(const char *device, const char *file, char out[LINE_BYTES])
{
	char path[PATH_MAX];
	ssize_t length = -1;
	int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", device, file) < (int)sizeof(path))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		length = read(fd, out, LINE_BYTES - 1);
		close(fd);
	}
	out[MAX_OF(length, 0)] = '\0';
	out[strcspn(out, "\n")] = '\0';
	for (size_t end = strlen(out); end > 0 && out[end - 1] == ' '; end--)
		out[end - 1] = '\0';
}

static bool has(const char *device, const char *file)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/%s", device, file) < (int)sizeof(path) &&
	       access(path, F_OK) == 0;
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool is_guest_disk(const char *name, const char *device)
{
	static const char *const names[] = {"vd", "xvd", "nbd", "rbd"};
	static const char *const vendors[] = {"VMware", "Msft", "QEMU", "VBOX", "Google"};
	char vendor[LINE_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		if (begins(name, names[i]))
			return true;
	}
	read_line(device, "device/vendor", vendor);
	for (size_t i = 0; i < ARRAY_COUNT(vendors); i++) {
		if (begins(vendor, vendors[i]))
			return true;
	}
	return false;
}

/* A disk that stands on no other. */
static enum media_kind kind_of_disk(const char *name, const char *device)
{
	char line[LINE_BYTES];

	if (begins(name, "zram") || begins(name, "ram") || begins(name, "pmem"))
		return MEDIA_MEMORY;
	if (begins(name, "nvme"))
		return MEDIA_NVME;
	if (begins(name, "mmcblk")) {
		read_line(device, "device/type", line);
		return strcmp(line, "MMC") == 0 ? MEDIA_EMMC : MEDIA_SD;
	}
	/* A guest is told anything about rotation. */
	if (is_guest_disk(name, device))
		return MEDIA_VIRTUAL;
	read_line(device, "removable", line);
	if (strcmp(line, "1") == 0)
		return MEDIA_SD;
	read_line(device, "queue/rotational", line);
	if (strcmp(line, "1") == 0)
		return MEDIA_ROTATING;
	return strcmp(line, "0") == 0 ? MEDIA_SSD : MEDIA_OTHER;
}

static uint64_t identity_of(const char *name, const char *device)
{
	static const char *const files[] = {"device/model", "device/serial", "device/cid",
					    "wwid",	    "size",	     "dm/uuid"};
	char line[LINE_BYTES];
	uint64_t sum = checksum_of(name, strlen(name));

	for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
		read_line(device, files[i], line);
		sum = checksum_seeded(line, strlen(line), sum);
	}
	return sum;
}

static void detect_path(const struct media_system *system, const char *path, unsigned depth,
			struct media *out);
static void detect_device(const struct media_system *system, const char *sys_path, unsigned depth,
			  struct media *out);

/* Parts of a dm or md: the slowest counts. False: there are none. */
static bool detect_parts(const struct media_system *system, const char *device, unsigned depth,
			 struct media *out)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool is_found = false;

	if (snprintf(path, sizeof(path), "%s/slaves", device) >= (int)sizeof(path))
		return false;
	DIR *parts = opendir(path);
	while (parts != NULL && (entry = readdir(parts)) != NULL) {
		struct media part = {0};
		if (entry->d_name[0] == '.' || snprintf(path, sizeof(path), "%s/slaves/%s", device,
							entry->d_name) >= (int)sizeof(path))
			continue;
		detect_device(system, path, depth + 1, &part);
		if (!is_found || PROFILES[part.kind].rank > PROFILES[out->kind].rank)
			out->kind = part.kind;
		/* Whatever the order in which the folder tells them. */
		out->identity += part.identity;
		is_found = true;
	}
	if (parts != NULL)
		closedir(parts);
	return is_found;
}

static void detect_device(const struct media_system *system, const char *sys_path, unsigned depth,
			  struct media *out)
{
	char device[PATH_MAX], line[LINE_BYTES];

	if (depth > DEPTH_MAX || realpath(sys_path, device) == NULL)
		return;
	if (has(device, "partition")) {
		char *slash = strrchr(device, '/');
		*slash = '\0';
	}
	const char *name = strrchr(device, '/') + 1;
	(void)snprintf(out->device, sizeof(out->device), "%.*s", (int)sizeof(out->device) - 1,
		       name);
	out->identity = identity_of(name, device);
	read_line(device, "loop/backing_file", line);
	if (line[0] == '/') {
		struct media below = {0};
		detect_path(system, line, depth + 1, &below);
		out->kind = below.kind;
		out->identity += below.identity;
	} else if (!detect_parts(system, device, depth, out)) {
		out->kind = kind_of_disk(name, device);
	}
}

static void detect_path(const struct media_system *system, const char *path, unsigned depth,
			struct media *out)
{
	char sys_path[PATH_MAX];
	bool is_memory = false;
	dev_t device = 0;

	if (system->device_of(system, path, &device, &is_memory) < 0)
		return;
	if (is_memory) {
		out->kind = MEDIA_MEMORY;
		(void)snprintf(out->device, sizeof(out->device), "tmpfs");
		return;
	}
	if (snprintf(sys_path, sizeof(sys_path), "%s/dev/block/%u:%u", system->sysfs, major(device),
		     minor(device)) < (int)sizeof(sys_path))
		detect_device(system, sys_path, depth, out);
}

void media_detect(const struct media_system *system, const char *directory, struct media *out)
{
	*out = (struct media){.kind = MEDIA_OTHER};
	detect_path(system, directory, 0, out);
}

/* --- the real system ---- */

/*
 * The block device that the file system `anonymous` is mounted from (btrfs has devices of its own
 * for each subvolume): from /proc/self/mountinfo.
 */
static int device_of_mount(dev_t anonymous, dev_t *out)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char line[MOUNTS_BYTES_MAX], source[PATH_MAX];
	int rc = -E_NOENT;

	if (mounts == NULL)
		return -E_NOENT;
	while (rc < 0 && fgets(line, sizeof(line), mounts) != NULL) {
		unsigned major_no, minor_no;
		struct stat st;
		const char *rest = strstr(line, " - ");
		if (rest == NULL || sscanf(line, "%*u %*u %u:%u", &major_no, &minor_no) != 2 ||
		    makedev(major_no, minor_no) != anonymous ||
		    sscanf(rest, " - %*s %4095s", source) != 1)
			continue;
		if (source[0] == '/' && stat(source, &st) == 0 && S_ISBLK(st.st_mode)) {
			*out = st.st_rdev;
			rc = 0;
		}
	}
	(void)fclose(mounts);
	return rc;
}

static int real_device_of(const struct media_system *system unused_arg, const char *path,
			  dev_t *out, bool *is_memory)
{
	struct statfs fs;
	struct stat st;

	if (statfs(path, &fs) < 0 || stat(path, &st) < 0)
		return error_from_errno(errno);
	*is_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
	*out = st.st_dev;
	return *is_memory || major(st.st_dev) != 0 ? 0 : device_of_mount(st.st_dev, out);
}

const struct media_system media_system = {.sysfs = "/sys", .device_of = real_device_of};
