/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk and a processor were measured to do: file "calibration" of a chunk directory, 256
 * bytes, replaced whole. Lost, damaged, or of another device, processor or version, it is measured
 * again: nothing but time depends on it.
 *
 *   0 4 magic "CRNK" · 4 2 version 1 · 6 2 zero · 8 8 device, 16 8 machine (processor, kernel,
 *   version of cairn): hashes · 24 8 measured at, wall ns · 32 8 bytes/s read, 40 8 written and
 *   synced, in sequence (0: not measured) · 48 .. 240 for each codec by number, 8 of them: 8
 *   bytes/s encoded, 8 decoded, 4 plain/stored * 1000, 4 zero (all 0: not measured) · 240 8 zero ·
 *   248 8 XXH3-64 of 0..247
 *
 * Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_CALIBRATION_H
#define CAIRN_FS_DISK_CALIBRATION_H

#include "fs/base/base.h"

#define CALIBRATION_BYTES  256u
#define CALIBRATION_FILE   "calibration"
#define CALIBRATION_CODECS 8u

struct calibration_codec {
	uint64_t encode_bytes_per_s, decode_bytes_per_s; /* plain bytes, of one core */
	uint32_t ratio_permille;			 /* plain / stored, of the sample */
};
struct calibration {
	uint64_t device, machine;
	uint64_t measured_ns;
	uint64_t read_bytes_per_s, write_bytes_per_s;
	struct calibration_codec codecs[CALIBRATION_CODECS];
};
void calibration_encode(const struct calibration *c, uint8_t out[CALIBRATION_BYTES]);
/* -E_BAD_MAGIC, -E_CORRUPT, -E_WRONG_VERSION, -E_MALFORMED. */
must_check int calibration_decode(const uint8_t in[CALIBRATION_BYTES], struct calibration *out);

#endif
