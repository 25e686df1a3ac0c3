/* SPDX-License-Identifier: Apache-2.0 */
/* TensorFlow Lite: buffers of a model; tables that lead astray. */
#include "tests/check_main.h"
#include "tests/tensor_files.h"

#define MODEL_AT   40u
#define VECTOR_AT  80u
#define BUFFER_AT  120u			/* the first of two, 40 bytes each */
#define LIST_AT    16u			/* of the model's fields; that of buffers lies behind it */
#define BUFFERS	   2u

static void put(struct file *file, uint32_t at, uint32_t value)
{
	struct wr w = wr_init(file->bytes + at, 4);

	wr_u32(&w, value);
}

/* A list of fields: its length, and where the last of them is in its table. */
static void put_list(struct file *file, uint32_t at, uint32_t fields, uint16_t place)
{
	struct wr w = wr_init(file->bytes + at, 4 + 2 * fields);

	wr_u16(&w, (uint16_t)(4 + 2 * fields));
	wr_zeros(&w, 2 * fields);
	wr_u16(&w, place);
}

static struct file *tflite(void)
{
	struct file *file = calloc(1, sizeof *file);

	put(file, 0, MODEL_AT);
	memcpy(file->bytes + 4, "TFL3", 4);
	put_list(file, LIST_AT, 5, 8);
	put_list(file, LIST_AT + 14, 1, 4);
	put(file, MODEL_AT, MODEL_AT - LIST_AT);
	put(file, MODEL_AT + 8, VECTOR_AT - (MODEL_AT + 8));
	put(file, VECTOR_AT, BUFFERS);
	for (uint32_t i = 0; i < BUFFERS; i++) {
		uint32_t at = BUFFER_AT + 40 * i, element = VECTOR_AT + 4 + 4 * i;

		put(file, element, at - element);
		put(file, at, at - (LIST_AT + 14));
		put(file, at + 4, 8);
		put(file, at + 12, 20);
	}
	file->size = BUFFER_AT + 40 * BUFFERS;
	return file;
}

START_TEST(buffers_are_told)
{
	struct file *file = tflite();

	file_expect(file, TENSORS_OF_TFLITE, " unknown 136+20\n unknown 176+20\n");
	free(file);
}
END_TEST

START_TEST(a_buffer_without_data_is_passed_over)
{
	struct file *file = tflite();

	put(file, BUFFER_AT, BUFFER_AT - LIST_AT);	/* the model's fields: the first is none */
	file_expect(file, TENSORS_OF_TFLITE, " unknown 176+20\n");
	put(file, BUFFER_AT, 1u << 31);			/* a list far behind the file */
	file_expect(file, TENSORS_OF_TFLITE, " unknown 176+20\n");
	free(file);
}
END_TEST

START_TEST(places_that_lead_astray_end_somewhere)
{
	static const uint32_t places[] = {0, MODEL_AT, MODEL_AT + 8, VECTOR_AT, VECTOR_AT + 4,
					  BUFFER_AT, BUFFER_AT + 4, BUFFER_AT + 12};
	static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 199, 200};
	struct file *file;

	for (uint32_t i = 0; i < ARRAY_COUNT(places); i++) {
		for (uint32_t v = 0; v < ARRAY_COUNT(values); v++) {
			file = tflite();
			put(file, places[i], values[v]);
			ck_assert_int_eq(file_walk(file, false, NULL), TENSORS_OF_TFLITE);
			ck_assert_int_eq(file_walk(file, true, NULL), TENSORS_OF_TFLITE);
			free(file);
		}
	}
	file = tflite();
	for (uint64_t size = file->size; size >= 8; size--) {
		file->size = size;
		file_walk(file, false, NULL);
	}
	free(file);
}
END_TEST

TEST_MAIN("tensors_tflite", tcase_add_test(tc, buffers_are_told);
	  tcase_add_test(tc, a_buffer_without_data_is_passed_over);
	  tcase_add_test(tc, places_that_lead_astray_end_somewhere))
