/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated disk: the twin of fs/io/disk_posix.c. A struct sim_media is the medium, which
 * outlives processes; sim_disk_create() opens it for one process as a struct disk.
 *
 * What survives:
 *  - a process crash (sim_media_crash): everything, as the page cache does;
 *  - a power cut (sim_media_power_cut): what disk_sync() of the file had covered, and of each later
 *    write or truncation, by the seed: all, nothing, or some of its 512-byte sectors, in any
 *    combination; names (create, rename, unlink, mkdir) in the order of their making, all up to the
 *    last disk_sync_dir() of the directory, and by the seed some of those after it: a file whose
 *    directory was not synced may be gone although its content was. A rename is kept or lost as a
 *    whole.
 * After either, the disks opened so far are dead: all calls answer -E_IO, but close and destroy
 * free memory as ever, and the lock is free. Open the medium again for the next process.
 *
 * Faults: sim_media_set_faults() makes calls fail by chance; a failed write may have written a
 * part. sim_media_rot() damages bytes that are there, in silence.
 *
 * Calls take no time by themselves; disk_submit() takes the time of a work (sim_loop.h).
 * readv_cached answers -E_AGAIN, or less, now and then. Threads: one.
 */
#ifndef CAIRN_TESTS_SIM_SIM_DISK_H
#define CAIRN_TESTS_SIM_SIM_DISK_H

#include "fs/io/disk.h"
#include "tests/sim/sim_world.h"

struct sim_media;

struct sim_media_faults {		/* chances per million calls */
	uint32_t read_eio;
	uint32_t write_eio;
	uint32_t sync_eio;		/* what was unsynced stays unsynced */
	/* as Linux does: -E_IO once, and no later sync writes what this one did not */
	uint32_t sync_drops;
	uint32_t write_nospc;
	uint32_t uncached;		/* of a piece, for readv_cached; default 125,000 */
};

must_check int sim_media_create(struct sim_world *world, uint64_t bytes_total,
				struct sim_media **out);
/* The disks opened on it must be destroyed. NULL is allowed. */
void sim_media_destroy(struct sim_media *media);

/* Open it for one process. */
must_check int sim_disk_create(struct sim_media *media, struct disk **out);

void sim_media_crash(struct sim_media *media);		/* the process died */
void sim_media_power_cut(struct sim_media *media);	/* the machine died */

void sim_media_set_faults(struct sim_media *media, const struct sim_media_faults *faults);
/* From now on all calls of all disks answer -E_IO (a dead drive), or work again. */
void sim_media_set_dead(struct sim_media *media, bool is_dead);
/*
 * Flip one bit in each of the bytes [offset, offset + len) of a file, where it was synced also on
 * the medium. -E_NOENT; -E_RANGE past its end.
 */
must_check int sim_media_rot(struct sim_media *media, const char *name, uint64_t offset,
			     uint64_t len);

/* The same to so many bytes here and there in files whose names begin so. */
void sim_media_rot_some(struct sim_media *media, const char *prefix, uint32_t count);

/* Let there be room for so many bytes more; UINT64_MAX: as much as when it was made. */
void sim_media_leave(struct sim_media *media, uint64_t bytes);

/* Does a power cut now lose anything? (Unsynced writes or names.) */
bool sim_media_is_clean(const struct sim_media *media);
uint64_t sim_media_fault_count(const struct sim_media *media);	/* how often a fault fired */

#endif
