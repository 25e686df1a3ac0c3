/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nibble codec: of each word of a block, the last byte (for weights the exponent, once the sign
 * is rotated out of its way) is one of few symbols almost always, so half a byte names it; the
 * other bytes of the word stay as they are. It saves what little can be saved at the speed of
 * memory: 1.33 of bf16, 1.14 of fp32.
 *
 *   offset  bytes
 *   0       1              bits 0-1: log2 of the stride (words of 1, 2 or 4 bytes, little-endian);
 *                          2: rotated; 3: sixteen symbols; 4-7: zero
 *   1       16             the symbols; without bit 3 fifteen and a zero
 *   17      2              f: plain bytes in front of the first word
 *   19      2              s: how many they are stored as
 *   21      s              they; by lz4 if s is less than f
 *           below stride   plain bytes behind the last word
 *           words * (stride - 1)   of each word, all bytes but the last
 *           words / 2, rounded up  of each word, which symbol; low half first
 *           1 each         without bit 3: the last bytes of words that name the sixteenth symbol,
 *                          in their order
 *
 * In front of the words is more than a part of one where a file begins with a header in text.
 *
 * A word is rotated left by one bit before all this if bit 2 says so; words of one byte never are.
 *
 * Pure; threads: any. What is written does not depend on what the processor can.
 */
#ifndef CAIRN_FS_CODEC_NIBBLE_H
#define CAIRN_FS_CODEC_NIBBLE_H

#include "fs/codec/codec.h"

/* Encode by the plan into at most `room` bytes; the length; 0: no room. */
must_check uint32_t nibble_encode(const struct codec_plan *plan, const struct codec_bytes *plain,
				  void *out, uint32_t room);
/* Decode to exactly plain_len bytes. -E_MALFORMED: not an encoding of so many (I8). */
must_check int nibble_decode(const struct codec_bytes *stored, void *out, uint32_t plain_len);

#endif
