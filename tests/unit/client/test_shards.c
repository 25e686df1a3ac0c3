/* SPDX-License-Identifier: Apache-2.0 */
#include "client/core/shards.h"

#include "tests/check_main.h"

START_TEST(names_of_shards_are_known)
{
	static const char *const names[] = {
		"model-00002-of-00004.safetensors", "pytorch_model-00002-of-00004.bin",
		"a-b-c-00002-of-00004", "-00002-of-00004.gguf", "q4-00001-00002-of-00004.gguf",
	};
	struct shard_name s;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		ck_assert(shard_parse(names[i], &s));
		ck_assert_uint_eq(s.index, 2);
		ck_assert_uint_eq(s.count, 4);
	}
}
END_TEST

START_TEST(other_names_are_not)
{
	static const char *const names[] = {
		"", "-", "model.safetensors", "model-1-of-4.bin", "model-00005-of-00004.bin",
		"model-00001-of-004.bin", "model-00001of-00004", "model-00001-of-",
		"00001-of-00004",
		"model-0000000001-of-0000000004", "model-00000-of-00000", "model-99998-of-99999",
	};
	struct shard_name s;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		ck_assert_msg(!shard_parse(names[i], &s), "%s", names[i]);
}
END_TEST

START_TEST(siblings_differ_in_the_index)
{
	const char *name = "model-00002-of-00012.safetensors";
	struct shard_name s;
	char sibling[64];

	ck_assert(shard_parse(name, &s));
	ck_assert(shard_sibling(name, &s, 11, sibling, sizeof sibling));
	ck_assert_str_eq(sibling, "model-00011-of-00012.safetensors");
	ck_assert(!shard_sibling(name, &s, 11, sibling, 10));
}
END_TEST

START_TEST(shards_are_one_model)
{
	uint64_t model = shard_model(7, "m-00001-of-00002.bin");

	ck_assert(model == shard_model(7, "m-00002-of-00002.bin"));
	ck_assert(model != shard_model(8, "m-00001-of-00002.bin"));
	ck_assert(model != shard_model(7, "n-00001-of-00002.bin"));
	ck_assert(model != shard_model(7, "m-00001-of-00003.bin"));
	ck_assert(shard_model(7, "a.gguf") != shard_model(7, "b.gguf"));
}
END_TEST

TEST_MAIN("shards", tcase_add_test(tc, names_of_shards_are_known);
	  tcase_add_test(tc, other_names_are_not);
	  tcase_add_test(tc, siblings_differ_in_the_index);
	  tcase_add_test(tc, shards_are_one_model))
