/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fixed-size structures on disk have in common: they begin with a magic and end with the
 * XXH3-64 of all bytes before. Private to fs/disk. Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_SEALED_H
#define CAIRN_FS_DISK_SEALED_H

#include "fs/base/bytes.h"

#define SEALED_CHECKSUM_BYTES 8u

/* Write the checksum of bytes[0 .. len - 9] into the last 8 bytes. */
void sealed_finish(uint8_t *bytes, size_t len);
/*
 * A cursor over what lies between magic and checksum. -E_BAD_MAGIC unless it begins with `magic`;
 * -E_CORRUPT if the checksum does not match.
 */
must_check int sealed_open(const uint8_t *bytes, size_t len, const char *magic, struct rd *out);

#endif
