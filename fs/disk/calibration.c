/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of calibration.h. Foreign bytes are rejected (I8). */
#include "fs/disk/calibration.h"

#include "fs/base/bytes.h"
#include "fs/disk/sealed.h"

#define VERSION 1u

static const char magic[] = "CRNK";

void calibration_encode(const struct calibration *c, uint8_t out[CALIBRATION_BYTES])
{
	struct wr w = wr_init(out, CALIBRATION_BYTES - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, magic, 4);
	wr_u16(&w, VERSION);
	wr_zeros(&w, 2);
	wr_u64(&w, c->device);
	wr_u64(&w, c->machine);
	wr_u64(&w, c->measured_ns);
	wr_u64(&w, c->read_bytes_per_s);
	wr_u64(&w, c->write_bytes_per_s);
	for (uint32_t i = 0; i < CALIBRATION_CODECS; i++) {
		wr_u64(&w, c->codecs[i].encode_bytes_per_s);
		wr_u64(&w, c->codecs[i].decode_bytes_per_s);
		wr_u32(&w, c->codecs[i].ratio_permille);
		wr_zeros(&w, 4);
	}
	wr_zeros(&w, 8);
	ASSERT(wr_ok(&w));
	sealed_finish(out, CALIBRATION_BYTES);
}

int calibration_decode(const uint8_t in[CALIBRATION_BYTES], struct calibration *out)
{
	struct rd r;
	int rc = sealed_open(in, CALIBRATION_BYTES, magic, &r);

	if (rc < 0)
		return rc;
	if (rd_u16(&r) != VERSION)
		return -E_WRONG_VERSION;
	rd_zeros(&r, 2);
	out->device = rd_u64(&r);
	out->machine = rd_u64(&r);
	out->measured_ns = rd_u64(&r);
	out->read_bytes_per_s = rd_u64(&r);
	out->write_bytes_per_s = rd_u64(&r);
	for (uint32_t i = 0; i < CALIBRATION_CODECS; i++) {
		out->codecs[i].encode_bytes_per_s = rd_u64(&r);
		out->codecs[i].decode_bytes_per_s = rd_u64(&r);
		out->codecs[i].ratio_permille = rd_u32(&r);
		rd_zeros(&r, 4);
	}
	rd_zeros(&r, 8);
	return rd_done(&r) ? 0 : -E_MALFORMED;
}
