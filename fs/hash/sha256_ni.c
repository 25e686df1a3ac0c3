/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests run in lanes. All lanes take as many 64-byte blocks as the shortest of them still has,
 * then each that has none left goes on with its padding, and behind that with the next job. So
 * lengths may differ, and all lanes stay busy until the last jobs.
 */
#include "fs/hash/sha256_ni.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#define NI_TARGET  __attribute__((target("sha,sse4.1,ssse3")))
#define NI_INLINE  static inline __attribute__((always_inline)) NI_TARGET
#define LANES_MAX  3u
#define BLOCK	   64u	/* bytes of one round of compression */
#define LENGTH	   8u	/* bytes of the length behind the padding */
#define GROUPS	   16u	/* of four rounds each */

/* The first 32 bits of the fractions of the cube roots of the first 64 primes (4.2.2). */
static const uint32_t K[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

/* One digest under way. The state is as the instructions want it: words a b e f, and c d g h. */
struct lane {
	__m128i abef, cdgh;
	const uint8_t *at;
	size_t blocks;			/* whole ones at `at` */
	const struct block_id_job *job;
	bool is_padded;			/* `at` is in `padding`: nothing comes behind */
	uint8_t padding[2 * BLOCK];
};

/* --- compression ------------------------------------------------------------------------------ */

/*
 * Four rounds of one lane. m holds the last 16 words of the message schedule, four to a register;
 * in group i those of m[i % 4] are used, and what the groups behind need is prepared.
 */
NI_INLINE void four_rounds(__m128i *abef, __m128i *cdgh, __m128i m[4], unsigned i)
{
	__m128i k = _mm_load_si128((const __m128i *)(const void *)&K[4 * i]);
	__m128i wk = _mm_add_epi32(m[i % 4], k);

	*cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, wk);
	if (i >= 3 && i < GROUPS - 1) {
		__m128i w9 = _mm_alignr_epi8(m[i % 4], m[(i + 3) % 4], 4);

		m[(i + 1) % 4] = _mm_add_epi32(m[(i + 1) % 4], w9);
		m[(i + 1) % 4] = _mm_sha256msg2_epu32(m[(i + 1) % 4], m[i % 4]);
	}
	*abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(wk, 0x0e));
	if (i >= 1 && i < GROUPS - 3)
		m[(i + 3) % 4] = _mm_sha256msg1_epu32(m[(i + 3) % 4], m[i % 4]);
}

/* `blocks` of each of the first `count` lanes: a constant, so that all unrolls. */
NI_INLINE void compress(struct lane *lanes, const unsigned count, size_t blocks)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i abef[LANES_MAX], cdgh[LANES_MAX], m[LANES_MAX][4];
	const uint8_t *at[LANES_MAX];

#pragma GCC unroll 3
	for (unsigned l = 0; l < count; l++) {
		abef[l] = lanes[l].abef;
		cdgh[l] = lanes[l].cdgh;
		at[l] = lanes[l].at;
	}
	for (size_t b = 0; b < blocks; b++) {
		__m128i abef_before[LANES_MAX], cdgh_before[LANES_MAX];

#pragma GCC unroll 3
		for (unsigned l = 0; l < count; l++) {
			abef_before[l] = abef[l];
			cdgh_before[l] = cdgh[l];
		}
#pragma GCC unroll 16
		for (unsigned i = 0; i < GROUPS; i++) {
#pragma GCC unroll 3
			for (unsigned l = 0; l < count; l++) {
				if (i < 4)
					m[l][i] = _mm_shuffle_epi8(
						_mm_loadu_si128((const __m128i *)(const void *)
								(at[l] + 16 * i)), swap);
				four_rounds(&abef[l], &cdgh[l], m[l], i);
			}
		}
#pragma GCC unroll 3
		for (unsigned l = 0; l < count; l++) {
			abef[l] = _mm_add_epi32(abef[l], abef_before[l]);
			cdgh[l] = _mm_add_epi32(cdgh[l], cdgh_before[l]);
			at[l] += BLOCK;
		}
	}
#pragma GCC unroll 3
	for (unsigned l = 0; l < count; l++) {
		lanes[l].abef = abef[l];
		lanes[l].cdgh = cdgh[l];
		lanes[l].at = at[l];
		lanes[l].blocks -= blocks;
	}
}

static NI_TARGET void compress_lanes(struct lane *lanes, unsigned count, size_t blocks)
{
	if (count == 3)
		compress(lanes, 3, blocks);
	else if (count == 2)
		compress(lanes, 2, blocks);
	else
		compress(lanes, 1, blocks);
}

/* --- lanes ------------------------------------------------------------------------------------ */

static NI_TARGET void lane_begin(struct lane *lane, const struct block_id_job *job)
{
	/* The square roots of the first eight primes (5.3.3). */
	lane->abef = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85u, 0x510e527f, (int)0x9b05688cu);
	lane->cdgh = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53au, 0x1f83d9ab, 0x5be0cd19);
	lane->job = job;
	lane->at = job->bytes;
	lane->blocks = job->len / BLOCK;
	lane->is_padded = false;
}

/* What is left, a one bit, zeros, and the length in bits (5.1.1). */
static void lane_pad(struct lane *lane)
{
	size_t left = lane->job->len % BLOCK;
	uint64_t bits = (uint64_t)lane->job->len * 8;

	lane->blocks = left + 1 + LENGTH <= BLOCK ? 1 : 2;
	memset(lane->padding, 0, sizeof lane->padding);
	if (left > 0)
		memcpy(lane->padding, lane->at, left);
	lane->padding[left] = 0x80;
	for (unsigned i = 0; i < LENGTH; i++)
		lane->padding[lane->blocks * BLOCK - 1 - i] = (uint8_t)(bits >> 8 * i);
	lane->at = lane->padding;
	lane->is_padded = true;
}

static NI_TARGET void lane_end(const struct lane *lane)
{
	uint32_t abef[4], cdgh[4];
	uint8_t *out = lane->job->out->bytes;

	_mm_storeu_si128((__m128i *)(void *)abef, lane->abef);
	_mm_storeu_si128((__m128i *)(void *)cdgh, lane->cdgh);
	const uint32_t words[8] = {abef[3], abef[2], cdgh[3], cdgh[2],
				   abef[1], abef[0], cdgh[1], cdgh[0]};
	for (unsigned i = 0; i < 8; i++) {
		uint32_t word = __builtin_bswap32(words[i]);

		memcpy(out + 4 * i, &word, sizeof word);
	}
}

/* Has the lane something to do? It goes on with its padding, or ends. */
static bool lane_goes_on(struct lane *lane)
{
	if (lane->blocks > 0)
		return true;
	if (!lane->is_padded) {
		lane_pad(lane);
		return true;
	}
	lane_end(lane);
	return false;
}

static void lane_move(struct lane *to, const struct lane *from)
{
	*to = *from;
	if (from->is_padded)
		to->at = to->padding + (from->at - from->padding);
}

/* --- public ----------------------------------------------------------------------------------- */

void sha256_ni_run(const struct block_id_job *jobs, size_t count)
{
	struct lane lanes[LANES_MAX];
	unsigned busy = 0;
	size_t next = 0;

	for (;;) {
		size_t blocks = SIZE_MAX;

		while (busy < LANES_MAX && next < count)
			lane_begin(&lanes[busy++], &jobs[next++]);
		for (unsigned l = 0; l < busy;) {
			if (lane_goes_on(&lanes[l])) {
				blocks = MIN_OF(blocks, lanes[l].blocks);
				l++;
				continue;
			}
			if (next < count)
				lane_begin(&lanes[l], &jobs[next++]);
			else if (l != --busy)
				lane_move(&lanes[l], &lanes[busy]);
		}
		if (busy == 0)
			return;
		compress_lanes(lanes, busy, blocks);
	}
}

#else

void sha256_ni_run(const struct block_id_job *jobs unused_arg, size_t count unused_arg)
{
	ASSERT(!"asked for what this CPU does not have");
}

#endif
