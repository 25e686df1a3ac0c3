/* SPDX-License-Identifier: Apache-2.0 */
/* Whose bytes are these? Of headers that are right, that overlap, and that cannot be read. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/check_main.h"
#include "tools/tensor_list.h"

static uint8_t file[4096];
static uint64_t readable; /* of the file: behind it reading fails */

static int read_file(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	(void)arg;
	if (offset + len > readable)
		return -E_IO;
	*bytes = file + offset;
	return 0;
}

/* A safetensors file of this header; returns where its data begins. */
static uint64_t make_file(const char *header)
{
	uint64_t len = strlen(header);

	memset(file, 0, sizeof file);
	for (uint32_t i = 0; i < 8; i++)
		file[i] = (uint8_t)(len >> 8 * i);
	memcpy(file + 8, header, len);
	readable = sizeof file;
	return 8 + len;
}

static void read_list(struct tensor_list *list)
{
	struct tensors_source source = {sizeof file, read_file, NULL};

	*list = (struct tensor_list){.items = NULL};
	ck_assert_int_eq(tensor_list_read(list, &source), 0);
}

#define TENSOR(name, dtype, from, to)                                                              \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[1],\"data_offsets\":[" #from "," #to "]}"

START_TEST(a_range_belongs_to_who_has_most_of_it)
{
	uint64_t data = make_file("{" TENSOR("b", "F32", 100, 1100) "," TENSOR("a", "BF16", 0, 100)
				  "}");
	struct tensor_list list;

	read_list(&list);
	ck_assert_uint_eq(list.count, 2);
	ck_assert_int_eq(list.format, TENSORS_OF_SAFETENSORS);
	ck_assert_str_eq(list.items[0].name, "a"); /* by offset */
	ck_assert_str_eq(tensor_list_find(&list, data, 150)->name, "a");
	ck_assert_str_eq(tensor_list_find(&list, data + 50, 150)->name, "b");
	ck_assert_int_eq(tensor_list_find(&list, data + 500, 1)->dtype, TENSORS_F32);
	ck_assert_ptr_null(tensor_list_find(&list, 0, 8));
	ck_assert_ptr_null(tensor_list_find(&list, data + 1100, 100)); /* behind the last */
	ck_assert_ptr_null(tensor_list_find(&list, data + 1000, 1000)); /* most is of none */
	tensor_list_finish(&list);
}
END_TEST

START_TEST(of_those_that_overlap_the_first_stays)
{
	uint64_t data = make_file("{" TENSOR("a", "F32", 0, 400) "," TENSOR("b", "F16", 200, 600)
				  "," TENSOR("c", "I8", 400, 500) "}");
	struct tensor_list list;

	read_list(&list);
	for (uint32_t i = 1; i < list.count; i++)
		ck_assert_uint_ge(list.items[i].offset,
				  list.items[i - 1].offset + list.items[i - 1].length);
	ck_assert_str_eq(tensor_list_find(&list, data + 200, 200)->name, "a");
	tensor_list_finish(&list);
}
END_TEST

START_TEST(what_cannot_be_read_has_what_was_found_before)
{
	struct tensor_list list;

	(void)make_file("{" TENSOR("a", "F32", 0, 400) "}");
	readable = 4;
	read_list(&list);
	ck_assert(list.is_short);
	ck_assert_uint_eq(list.count, 0);
	ck_assert_ptr_null(tensor_list_find(&list, 0, 4096));
	tensor_list_finish(&list);
	memset(file, 0xff, sizeof file); /* no model */
	readable = sizeof file;
	read_list(&list);
	ck_assert(!list.is_short);
	ck_assert_int_eq(list.format, TENSORS_OF_NONE);
	tensor_list_finish(&list);
}
END_TEST

START_TEST(long_names_are_cut_in_the_middle)
{
	char header[1024], name[301];
	struct tensor_list list;

	memset(name, 'x', 300);
	name[0] = '<';
	name[299] = '>';
	name[300] = '\0';
	(void)snprintf(header, sizeof header,
		       "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", name);
	(void)make_file(header);
	read_list(&list);
	ck_assert_uint_eq(list.count, 1);
	ck_assert_uint_lt(strlen(list.items[0].name), TENSOR_NAME_BYTES);
	ck_assert_int_eq(list.items[0].name[0], '<');
	ck_assert_int_eq(list.items[0].name[strlen(list.items[0].name) - 1], '>');
	tensor_list_finish(&list);
}
END_TEST

TEST_MAIN("tensor_list", tcase_add_test(tc, a_range_belongs_to_who_has_most_of_it);
	  tcase_add_test(tc, of_those_that_overlap_the_first_stays);
	  tcase_add_test(tc, what_cannot_be_read_has_what_was_found_before);
	  tcase_add_test(tc, long_names_are_cut_in_the_middle))
