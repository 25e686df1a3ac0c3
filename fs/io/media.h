/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Media: what kind of disk a directory lies on, and how such a disk is best used. Found in sysfs,
 * from the device below the directory: partitions lead to their disk, dm and md to their parts, of
 * which the slowest counts, loop devices to the disk of their file. What cannot be told (network
 * and overlay file systems, a device of which sysfs says nothing) is "other", used as an SSD is.
 *
 * Where detection is wrong, the setting cs.media says better (media_chosen()).
 *
 * Synchronous, for start-up. Foreign text is read within bounds (I8).
 */
#ifndef CAIRN_FS_IO_MEDIA_H
#define CAIRN_FS_IO_MEDIA_H

#include <sys/types.h>

#include "fs/base/config.h"

enum media_kind {
	MEDIA_OTHER,
	MEDIA_MEMORY, /* tmpfs, zram, persistent memory */
	MEDIA_NVME,
	MEDIA_SSD,
	MEDIA_VIRTUAL, /* a guest's disk: what is below it nobody tells */
	MEDIA_EMMC,
	MEDIA_ROTATING,
	MEDIA_SD, /* cards and sticks */
	MEDIA_COUNT,
};

/* How a kind is used. */
struct media_profile {
	const char *name;
	/* Reads in flight at once. 1: each new one is chosen by place, so that the disk goes on. */
	uint32_t queue_depth;
	uint32_t request_bytes; /* the longest read */
	uint32_t gap_bytes;	/* between two records: read over, rather than seek */
	/* Disks of one rank are one tier; lower is faster. */
	uint32_t rank;
	/* of sequential reading, as a guess until it was measured */
	uint64_t bytes_per_s;
};
const struct media_profile *media_profile(enum media_kind kind);
must_check int media_parse(const char *name, enum media_kind *out); /* -E_INVAL */
#define MEDIA_NAMES "memory, nvme, ssd, virtual, emmc, rotating, sd, other"

#define MEDIA_NAME_BYTES 32u
struct media {
	enum media_kind kind;
	char device[MEDIA_NAME_BYTES]; /* "nvme0n1", "tmpfs"; "": not known */
	uint64_t identity; /* of the device: model, serial number, size; changes with it */
};

/* Where to look; a test brings its own. */
struct media_system {
	const char *sysfs; /* "/sys" */
	/*
	 * The device that a path lies on; *is_memory if it is none but memory. A negated code.
	 */
	int (*device_of)(const struct media_system *system, const char *path, dev_t *out,
			 bool *is_memory);
};
extern const struct media_system media_system; /* the real one */

/* Never fails: what is not found is MEDIA_OTHER. */
void media_detect(const struct media_system *system, const char *directory, struct media *out);

/*
 * What cs.media says of a directory: "auto", "KIND" for all, or "DIRECTORY=KIND"; the last that
 * fits counts. 1: *kind is set; 0: it is to be detected; -E_INVAL: no such kind.
 */
must_check int media_chosen(const struct config_paths *setting, const char *directory,
			    enum media_kind *kind, struct error *err);
/* Does each entry name a kind, and a directory of `dirs`? -E_INVAL. */
must_check int media_check(const struct config_paths *setting, const struct config_paths *dirs,
			   struct error *err);

#endif
