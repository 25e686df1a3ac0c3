/* SPDX-License-Identifier: Apache-2.0 */
/* The walk, and safetensors: tiny files, told alike however their bytes come, and hostile ones. */
#include "tests/check_main.h"
#include "tests/tensor_files.h"

/* --- safetensors ------------------------------------------------------------------------------ */

static struct file *safetensors(const char *header, uint64_t data_len)
{
	struct file *file = calloc(1, sizeof *file);
	size_t len = strlen(header);
	struct wr w = wr_init(file->bytes, sizeof file->bytes);

	wr_u64(&w, len);
	wr_bytes(&w, header, len);
	wr_zeros(&w, data_len);
	ck_assert(wr_ok(&w));
	file->size = wr_len(&w);
	return file;
}

START_TEST(safetensors_tell_their_tensors)
{
	struct file *file = safetensors(
		"{\"__metadata__\":{\"format\":\"pt\",\"x\":\"a,}\\\"{\"},"
		"\"a.b\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]} , "
		"\"c,\\\"d\":{\"data_offsets\":[8,11],\"dtype\":\"I8\",\"shape\":[3]}}   ",
		11);
	uint64_t data_start;

	file_walk(file, false, &data_start);
	ck_assert_uint_eq(data_start + 11, file->size);
	char told[100];
	snprintf(told, sizeof told, "a.b bf16 %u+8\nc,\"d i8 %u+3\n", (unsigned)data_start,
		 (unsigned)data_start + 8);
	file_expect(file, TENSORS_OF_SAFETENSORS, told);
	free(file);
}
END_TEST

START_TEST(hostile_safetensors_tell_less)
{
	static const char *const headers[] = {
		"{\"a\":{\"data_offsets\":[0,9]}}", /* beyond the end */
		"{\"a\":{\"data_offsets\":[5,3]}}", /* backwards */
		"{\"a\":{\"data_offsets\":[-1,3]}}",
		"{\"a\":{\"data_offsets\":[0,9223372036854775807]}}",
		"{\"a\":{\"data_offsets\":[0,99999999999999999999]}}",
		"{\"a\":{\"data_offsets\":[0.0,3.0]}}",
		"{\"a\":{\"data_offsets\":{\"0\":0}}}",
		"{\"a\":{\"data_offsets\":[3,3]}}", /* empty */
		"{\"a\":[[[[",
		"{\"a",
		"{]]]]}}}}",
		"{,,,,}",
		"{}",
		"{{{{{{",
		"{\"\\",
	};

	for (uint32_t i = 0; i < ARRAY_COUNT(headers); i++) {
		struct file *file = safetensors(headers[i], 8);

		file_expect(file, TENSORS_OF_SAFETENSORS, "");
		free(file);
	}
}
END_TEST

START_TEST(a_long_entry_is_passed_over)
{
	static const char before[] = "{\"__metadata__\":{\"x\":\"";
	static const char after[] = "\"},\"b\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}";
	const size_t start = sizeof before - 1, len = 40000;
	char *header = malloc(60000);

	memset(header, ',', len);
	memcpy(header, before, start);
	memcpy(header + len, after, sizeof after);
	struct file *file = safetensors(header, 4);
	char told[64];
	snprintf(told, sizeof told, "b f32 %u+4\n", (unsigned)file->size - 4);
	file_expect(file, TENSORS_OF_SAFETENSORS, told);
	free(file);
	free(header);
}
END_TEST

START_TEST(what_is_unknown_tells_nothing)
{
	struct file *file = calloc(1, sizeof *file);

	for (uint64_t size = 0; size < 40; size++) {
		file->size = size;
		memset(file->bytes, 0x41, size);
		file_expect(file, TENSORS_OF_NONE, "");
	}
	free(file);
}
END_TEST

TEST_MAIN("tensors", tcase_add_test(tc, safetensors_tell_their_tensors);
	  tcase_add_test(tc, hostile_safetensors_tell_less);
	  tcase_add_test(tc, a_long_entry_is_passed_over);
	  tcase_add_test(tc, what_is_unknown_tells_nothing))
