/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring what a disk and this processor can do, and what follows for the codec: on a slow disk
 * the one that stores less, on a fast one beside a weak processor the one that decodes faster.
 *
 * Blocking, for worker threads, bounded in time and in bytes.
 */
#ifndef CAIRN_CHUNK_SERVER_CALIBRATE_H
#define CAIRN_CHUNK_SERVER_CALIBRATE_H

#include "fs/codec/codec.h"
#include "fs/disk/calibration.h"
#include "fs/io/disk.h"
#include "fs/io/media.h"

/* The machine that figures are of: processor, kernel, version of cairn. */
uint64_t cs_calibrate_machine(void);
uint32_t cs_calibrate_cores(void); /* >= 1 */

/* What is stored of this device and machine; -E_NOENT: nothing, or of another one. */
must_check int cs_calibrate_load(struct disk *disk, uint64_t device, struct calibration *out);
must_check int cs_calibrate_store(struct disk *disk, const struct calibration *c);

/*
 * Write at most 31 MiB (a sixteenth of what is free) to a file of its own, sync, read it directly,
 * remove it: 300 ms, or one piece where that takes longer. Figures stay 0 where it cannot be.
 */
must_check int cs_calibrate_disk(struct disk *disk, struct loop *clock, struct calibration *out);
/* Each codec on a built-in sample that looks like weights, 50 ms in all. -E_NOMEM. */
must_check int cs_calibrate_codecs(struct loop *clock, struct calibration *out);

/*
 * How cold blocks are best stored: SMALL or FAST, whichever `cores` read faster from that disk; the
 * smaller in doubt. Without figures (NULL, or 0) by what disks of the kind do as a rule.
 */
enum codec_aim cs_calibrate_aim(const struct calibration *c, enum media_kind kind, uint32_t cores);

#endif
