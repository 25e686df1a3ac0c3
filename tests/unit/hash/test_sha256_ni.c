/* SPDX-License-Identifier: Apache-2.0 */
/* Digests in lock step against OpenSSL's, one at a time: every tail, any mixture of lengths. */
#include "fs/hash/sha256_ni.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cpu.h"
#include "tests/check_main.h"

#define BYTES	  (2u * BLOCK_BYTES_MAX)
#define JOBS_MAX  11u
#define ROUNDS	  300u
#define SEED	  UINT64_C(0x9e3779b97f4a7c15)

static uint8_t bytes[BYTES];

static uint32_t draw(uint64_t *state, uint32_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 33) % below;
}

static void fill(void)
{
	uint64_t state = SEED;

	for (uint32_t i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)draw(&state, 256);
}

static void expect(const struct block_id_job *job)
{
	struct block_id wanted;
	unsigned len = 0;

	ck_assert_int_eq(EVP_Digest(job->bytes, job->len, wanted.bytes, &len, EVP_sha256(), NULL),
			 1);
	ck_assert_msg(block_id_equal(&wanted, job->out), "%zu bytes", job->len);
}

static void check_all(void (*run)(const struct block_id_job *jobs, size_t count),
		      struct block_id_job *jobs, uint32_t count)
{
	struct block_id ids[JOBS_MAX];

	for (uint32_t i = 0; i < count; i++)
		jobs[i].out = &ids[i];
	run(jobs, count);
	for (uint32_t i = 0; i < count; i++)
		expect(&jobs[i]);
}

static void run_public(const struct block_id_job *jobs, size_t count)
{
	block_id_of_all(HASH_SHA256, jobs, count);
}

static void check_tails(void (*run)(const struct block_id_job *jobs, size_t count))
{
	/* Three lengths that differ, so that lanes end and are refilled at different times. */
	for (uint32_t len = 0; len <= 3 * 64 + 1; len++) {
		struct block_id_job jobs[] = {
			{.bytes = bytes, .len = len},
			{.bytes = bytes + 1, .len = 200 - len},
			{.bytes = bytes + 3, .len = 3 * len},
			{.bytes = bytes + 7, .len = len + 1},
		};

		for (uint32_t count = 1; count <= ARRAY_COUNT(jobs); count++)
			check_all(run, jobs, count);
	}
}

static void check_mixtures(void (*run)(const struct block_id_job *jobs, size_t count))
{
	uint64_t state = SEED;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct block_id_job jobs[JOBS_MAX];
		uint32_t count = 1 + draw(&state, JOBS_MAX);

		for (uint32_t i = 0; i < count; i++) {
			jobs[i].len = 1 + draw(&state, draw(&state, 2) ? BLOCK_BYTES_MAX : 300);
			jobs[i].bytes = bytes + draw(&state, BYTES - (uint32_t)jobs[i].len);
		}
		check_all(run, jobs, count);
	}
}

START_TEST(whatever_this_machine_uses_agrees_with_openssl)
{
	fill();
	check_tails(run_public);
	check_mixtures(run_public);
}
END_TEST

START_TEST(lanes_agree_with_openssl)
{
	if (!cpu_has_sha())
		return; /* this machine never runs them */
	fill();
	check_tails(sha256_ni_run);
	check_mixtures(sha256_ni_run);
}
END_TEST

START_TEST(a_million_times_a)
{
	/* FIPS 180-2, B.3 */
	const char *wanted = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
	size_t len = 1000000;
	char *as = malloc(len), hex[BLOCK_ID_HEX_BYTES];
	struct block_id ids[3];
	struct block_id_job jobs[3];

	ck_assert_ptr_nonnull(as);
	memset(as, 'a', len);
	for (uint32_t i = 0; i < 3; i++)
		jobs[i] = (struct block_id_job){as, len, &ids[i]};
	block_id_of_all(HASH_SHA256, jobs, 3);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_str_eq(block_id_hex(&ids[i], hex), wanted);
	free(as);
}
END_TEST

START_TEST(no_job_is_no_work)
{
	block_id_of_all(HASH_SHA256, NULL, 0);
	block_id_of_all(HASH_SHA3_256, NULL, 0);
}
END_TEST

START_TEST(several_by_sha3_are_those_of_each)
{
	struct block_id ids[2], wanted;
	const struct block_id_job jobs[] = {{bytes, 100, &ids[0]}, {bytes + 9, 70, &ids[1]}};

	fill();
	block_id_of_all(HASH_SHA3_256, jobs, 2);
	for (uint32_t i = 0; i < 2; i++) {
		block_id_of(HASH_SHA3_256, jobs[i].bytes, jobs[i].len, &wanted);
		ck_assert(block_id_equal(&wanted, &ids[i]));
	}
}
END_TEST

TEST_MAIN("sha256_ni",
	  tcase_add_test(tc, whatever_this_machine_uses_agrees_with_openssl);
	  tcase_add_test(tc, lanes_agree_with_openssl);
	  tcase_add_test(tc, a_million_times_a);
	  tcase_add_test(tc, no_job_is_no_work);
	  tcase_add_test(tc, several_by_sha3_are_those_of_each))
